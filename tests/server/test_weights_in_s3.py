"""Weights that a server downloads from S3, staged by `model stage`."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from deploy.aws import AWSClient
from deploy.weights.files import read_weights
from deploy.weights.store import Store
from handler.weights.source import MINI
from server.torchserve import ServerFailedError
from tests import documents
from tests.s3 import S3, s3_on_loopback
from tests.waiting import until

PREFIX = "models/mini/r1/"
URI = f"s3://weights/{PREFIX}"
PNG = documents.as_png(documents.text_page(["One page"]))


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    """S3 server that holds the embedded model, staged by the deployment's code."""
    with s3_on_loopback("weights") as server:
        store = Store(
            AWSClient(boto3.Session(), endpoint_url=server.address), "weights"
        )
        staged = read_weights(MINI, "acme/mini", "r1")
        store.stage(staged, PREFIX, "ocr", lambda *progress: None)
        yield server


@pytest.mark.slow
def test_staged_weights_are_fetched_and_used(s3, start_server, tmp_path):
    environ = {
        **s3.environ,
        "MODEL_S3_URI": URI,
        "CHANDRA_CACHE_DIR": str(tmp_path),
        "CHANDRA_MAX_OUTPUT_TOKENS": "12",
        "ALLOW_CPU": "1",
    }

    with start_server(**environ) as client:
        answer = client.post(PNG, "image/png")

    assert answer.status_code == 200
    assert answer.json()["model"]["id"] == "acme/mini"
    assert answer.json()["model"]["revision"] == "r1"
    fetched, loaded = client.lines.find_events("weights")
    assert fetched["stage"] == "fetched"
    assert fetched["bytes"] == fetched["total_bytes"] > loaded["bytes"]


@pytest.mark.slow
def test_corrupt_staged_weights_stop_the_start(s3, start_server, tmp_path):
    content = (MINI / "model.safetensors").read_bytes()
    s3.put(f"{PREFIX}model.safetensors", content[:-1] + b"\xff", bucket="weights")
    environ = {
        **s3.environ,
        "MODEL_S3_URI": URI,
        "CHANDRA_CACHE_DIR": str(tmp_path),
        "ALLOW_CPU": "1",
    }

    with start_server(wait=False, **environ) as client:
        until(lambda: client.server.failure, 120)
        with pytest.raises(ServerFailedError, match=r"safetensors does not match"):
            client.server.wait_until_ready(60)
