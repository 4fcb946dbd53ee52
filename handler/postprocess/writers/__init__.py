"""Writers of Markdown and plain text."""
