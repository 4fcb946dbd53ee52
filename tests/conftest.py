"""Fixtures of all tests: an environment without settings of models."""

from __future__ import annotations

import os

import hypothesis
import pytest

from handler.settings import PREFIX, VARIABLES

# The engine's process has the same value. It must be set before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

# Use the same examples each time, without deadlines, because the machine may be busy.
# Add further failing examples to their tests.
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
