"""Pools of child processes for work that may crash or hang."""
