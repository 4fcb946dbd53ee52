"""What `bench.gpu` measures on a device, in which order, and what it answers."""
