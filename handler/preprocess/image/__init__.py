"""Images: their frames and their pixels."""
