"""What a test needs of the machine, said once."""

from __future__ import annotations

import os

import pytest

from handler.sandbox import landlock, seccomp
from server.java import find_java_home
from server.plugin import find_plugin

needs_the_plugin = pytest.mark.skipif(
    find_plugin(find_java_home(os.environ)) is None, reason="this machine has no JDK"
)
"""TorchServe as it is served, with our /ping: built where there is a JDK."""

needs_seccomp = pytest.mark.skipif(
    not seccomp.is_supported(), reason="this kernel filters no system calls (seccomp)"
)
needs_landlock = pytest.mark.skipif(
    landlock.supported_version() == 0, reason="this kernel has no Landlock"
)
