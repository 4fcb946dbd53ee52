"""Where the container cannot be tested, it is said why."""

from __future__ import annotations

import pytest

from tests.container.engine import why_not

NOWHERE = {"PATH": ""}


@pytest.fixture
def debian(tmp_path):
    sources = tmp_path / "debian.sources"
    sources.write_text("Suites: bookworm bookworm-updates\n")
    return sources


def test_whoever_is_not_root_can_start_no_engine(debian):
    reason = why_not(NOWHERE, user=1000, sources=debian)

    assert reason is not None
    assert "only root" in reason


def test_another_system_has_no_packages_of_an_engine(tmp_path):
    reason = why_not(NOWHERE, user=0, sources=tmp_path / "none")

    assert reason is not None
    assert "Debian 12" in reason


def test_an_engine_that_answers_is_enough(tmp_path):
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho Server: one\n")
    docker.chmod(0o755)

    assert why_not({"PATH": str(tmp_path)}, user=1000) is None
