"""Instance types: their GPUs, memory, prices and throughput."""
