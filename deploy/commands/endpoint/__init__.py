"""Commands that change or show the endpoint, and what they share."""
