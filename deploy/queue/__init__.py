"""The endpoint with the queue: documents sent, awaited, fetched; and its machines."""
