"""Starting and supervising TorchServe: on a laptop, in tests, and in a container."""
