"""Self-test of the engine on a GPU, and the comparisons that it makes."""
