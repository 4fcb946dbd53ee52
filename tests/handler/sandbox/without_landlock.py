"""Module that simulates a kernel without Landlock when it is imported."""

from __future__ import annotations

from handler.sandbox import landlock

# No kernel has a system call with this number.
landlock._CREATE_RULESET = 100_000
