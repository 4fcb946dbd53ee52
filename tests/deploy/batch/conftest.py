"""Fixtures of batch jobs: buckets, weights, an image and machines."""

from __future__ import annotations

import pytest

from tests.deploy.batch.transformer import BUCKETS, with_documents


@pytest.fixture
def put(cloud, wire, project, at):
    """Return a function that uploads a document: `put("scans/a.pdf", b"...")`."""
    project(BUCKETS)
    return with_documents(cloud, wire, at.now)
