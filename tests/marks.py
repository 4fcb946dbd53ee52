"""Marks for tests with requirements on the machine."""

from __future__ import annotations

import pytest

from handler.sandbox import landlock, seccomp
from server.plugin import JAR

needs_the_plugin = pytest.mark.skipif(not JAR.is_file(), reason="the jar is missing")
"""Mark for tests that need the jar of our frontend, which the repository holds."""

needs_seccomp = pytest.mark.skipif(
    not seccomp.is_supported(), reason="this kernel filters no system calls (seccomp)"
)
needs_landlock = pytest.mark.skipif(
    landlock.supported_version() == 0, reason="this kernel has no Landlock"
)
