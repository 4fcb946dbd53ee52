"""What every test may rely on: an environment that says nothing about models."""

from __future__ import annotations

import os

import pytest

from handler.settings import PREFIX, VARIABLES


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name in VARIABLES or name.startswith(PREFIX):
            monkeypatch.delenv(name)
