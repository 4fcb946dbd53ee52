"""Confined processes that parse client data, and the messages to and from them.

Such a process holds no secret, reads no file but its imports and its document, has no
network and starts no program. Its replies are checked against the annotations of the
called function, and are never unpickled.
"""
