"""What a test needs of the machine, said once."""

from __future__ import annotations

import pytest

from handler.sandbox import landlock, seccomp
from server.plugin import JAR

needs_the_plugin = pytest.mark.skipif(not JAR.is_file(), reason="the jar is missing")
"""TorchServe as it is served, with our frontend, whose jar the repository holds."""

needs_seccomp = pytest.mark.skipif(
    not seccomp.is_supported(), reason="this kernel filters no system calls (seccomp)"
)
needs_landlock = pytest.mark.skipif(
    landlock.supported_version() == 0, reason="this kernel has no Landlock"
)
