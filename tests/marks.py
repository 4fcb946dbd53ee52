"""What a test needs of the machine, said once."""

from __future__ import annotations

import pytest

from server.plugin import JAR

needs_the_plugin = pytest.mark.skipif(not JAR.is_file(), reason="the jar is missing")
"""TorchServe as it is served, with our frontend, whose jar the repository holds."""
