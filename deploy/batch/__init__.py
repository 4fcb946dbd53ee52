"""Batch transform: a job, the objects it reads, its machines, and what became of it."""
