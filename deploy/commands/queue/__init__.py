"""Commands of `async`: the asynchronous endpoint and its queue."""
