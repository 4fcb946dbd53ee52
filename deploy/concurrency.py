"""Numbers of AWS requests that are in flight at once."""

__all__ = ["NUM_LARGE_TRANSFERS", "NUM_SMALL_REQUESTS", "NUM_SUBMISSIONS"]

NUM_SMALL_REQUESTS = 16
"""Requests of some kilobytes, such as HEAD requests and records of a ledger."""
NUM_SUBMISSIONS = 8
"""Documents that are uploaded and submitted to a queue."""
NUM_LARGE_TRANSFERS = 4
"""Transfers that are held in memory; results and files have up to 100 MB each."""
