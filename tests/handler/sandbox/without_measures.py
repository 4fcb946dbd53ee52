"""Simulates a kernel without any measure in a process that imports it."""

from __future__ import annotations

from handler.sandbox import landlock, seccomp

# Numbers of calls that no kernel has.
landlock._CREATE_RULESET = 100_000
seccomp._PR_SET_SECCOMP = 100_000
