"""Fixture of a fake S3 server."""

from __future__ import annotations

import pytest

from tests.s3 import s3_on_loopback


@pytest.fixture(scope="module")
def _server():
    with s3_on_loopback("docs", "private") as server:
        yield server


@pytest.fixture
def s3(_server):
    _server.reset()
    yield _server
    _server.reset()
