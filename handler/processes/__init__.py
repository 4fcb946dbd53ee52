"""Child processes for work that may crash or hang."""
