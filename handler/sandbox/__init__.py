"""Confinement of processes that parse client data, and the messages to and from them.

A confined process has no secrets, no network and no child processes. It can read only
the files of its imports and the document it was sent. Its replies are validated against
the annotations of the called function, and are never unpickled.
"""
