"""Load and fault tests against a real server, for minutes or hours."""
