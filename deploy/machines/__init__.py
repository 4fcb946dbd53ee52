"""The machines there are: their GPUs, their price, and the pages they read."""
