"""Batch transform: jobs, their input objects, their machines and their results."""
