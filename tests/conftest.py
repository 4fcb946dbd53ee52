"""What every test may rely on: an environment that says nothing about models."""

from __future__ import annotations

import os

import hypothesis
import pytest

from handler.settings import PREFIX, VARIABLES

# As in the engine's own process, and before anything imports torch.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

# The same examples each time, and no failure because other programs use the machine:
# a further failing example belongs into its test.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name in VARIABLES or name.startswith(PREFIX):
            monkeypatch.delenv(name)
