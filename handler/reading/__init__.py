"""Reading of one document: open, decode, read, convert, collect."""
