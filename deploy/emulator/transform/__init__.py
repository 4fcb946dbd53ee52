"""Batch transform jobs: requests about jobs, and the runs of jobs."""
