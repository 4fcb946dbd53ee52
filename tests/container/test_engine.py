"""Reasons why the container tests cannot run."""

from __future__ import annotations

import pytest

from tests.container.engine import explain_missing_engine

NO_PROGRAMS = {"PATH": ""}


@pytest.fixture
def debian(tmp_path):
    sources = tmp_path / "debian.sources"
    sources.write_text("Suites: bookworm bookworm-updates\n")
    return sources


def test_starting_an_engine_needs_root(debian):
    reason = explain_missing_engine(NO_PROGRAMS, user=1000, sources=debian)

    assert reason is not None
    assert "only root" in reason


def test_other_systems_have_no_engine_packages(tmp_path):
    reason = explain_missing_engine(NO_PROGRAMS, user=0, sources=tmp_path / "none")

    assert reason is not None
    assert "Debian 12" in reason


def test_running_engine_is_sufficient(tmp_path):
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho Server: one\n")
    docker.chmod(0o755)

    assert explain_missing_engine({"PATH": str(tmp_path)}, user=1000) is None
