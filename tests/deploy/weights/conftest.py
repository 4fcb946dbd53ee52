"""Fixtures of weights: a bucket, a folder and a large file."""

from __future__ import annotations

import pytest

from tests.deploy.weights.fake_s3 import (
    BUCKET,
    CONFIG,
    MIB,
)


@pytest.fixture
def bucket(cloud, wire):
    wire.call("s3", "create_bucket", Bucket=BUCKET)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with weights, a subfolder and hidden files."""
    root = tmp_path / "weights"
    (root / "sub").mkdir(parents=True)
    (root / ".cache").mkdir()
    (root / "config.json").write_text(CONFIG)
    (root / "model.safetensors").write_bytes(b"weights")
    (root / "sub" / "tokenizer.json").write_text('{"a": 1}')
    (root / ".cache" / "lock").write_text("hidden")
    return root


@pytest.fixture
def large(folder):
    """Return a file of two parts and some bytes."""
    path = folder / "model.safetensors"
    path.write_bytes(bytes(range(256)) * (11 * MIB // 256))
    return path
