"""Benchmarks, one command for each published number."""
