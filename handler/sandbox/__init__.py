"""Processes that parse client data, and the one way in which they are talked to.

Such a process holds no secret, reaches no file but its imports and the document that
it is given, has no network and starts no program. Its replies are data that are
checked against the type of the function that was called; they are never unpickled.
"""
