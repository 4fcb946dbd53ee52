"""Fixtures of the batch jobs: documents in a bucket, and machines to read them."""

from __future__ import annotations

import pytest

from tests.deploy.batch.transformer import BUCKETS, with_documents


@pytest.fixture
def put(cloud, wire, project, at):
    """put("scans/a.pdf", b"..."): documents in a bucket, and machines to read them."""
    project(BUCKETS)
    return with_documents(cloud, wire, at.now)
