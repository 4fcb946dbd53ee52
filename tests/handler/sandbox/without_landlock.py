"""Simulates a kernel without Landlock in a process that imports it."""

from __future__ import annotations

from handler.sandbox import landlock

# The number of a call that no kernel has.
landlock._CREATE_RULESET = 100_000
