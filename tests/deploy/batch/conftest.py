"""Fixtures of batch jobs: buckets, weights, an image and machines."""

from __future__ import annotations

import pytest

from tests.deploy.batch.transformer import TRANSFORM_CONFIG, create_batch_resources


@pytest.fixture
def upload_document(cloud, wire, project, at):
    """Return a function that uploads a document: `upload_document(key, body)`."""
    project(TRANSFORM_CONFIG)
    return create_batch_resources(cloud, wire, at.now)
