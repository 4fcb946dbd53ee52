"""Commands that change or show the endpoint, and their shared code."""
