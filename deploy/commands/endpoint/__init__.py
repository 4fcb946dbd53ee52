"""Commands that change or show the endpoint."""
