"""Load and fault runs against a real server, for minutes or hours."""
