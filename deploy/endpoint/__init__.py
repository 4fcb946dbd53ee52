"""Endpoints in an account: reading, planning, preflight checks and schedules."""
