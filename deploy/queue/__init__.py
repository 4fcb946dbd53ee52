"""Queue of documents in front of an asynchronous endpoint, and its scaling."""
