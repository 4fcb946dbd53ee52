"""Continuous batching: scheduling, KV cache and requests, as integers."""
