"""Imported by a process before it is confined: a kernel without Landlock."""

from __future__ import annotations

from handler.sandbox import landlock

# The number of a call that no kernel has.
landlock._CREATE_RULESET = 100_000
