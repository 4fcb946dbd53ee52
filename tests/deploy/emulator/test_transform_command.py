"""Tests of `chandra-sagemaker transform` with the emulator and the real server."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from deploy.emulator.account import EmulatedAccount
from tests import documents
from tests.deploy.accounts import IMAGE
from tests.deploy.emulator.conftest import (
    BUCKET,
    REGION,
    build_real_server,
    create_command_runner,
    run_emulator,
)
from tests.deploy.emulator.test_real_server import BROKEN, PDF, PNG
from tests.marks import needs_the_plugin

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    needs_the_plugin,
]

CONFIG = f"""
name = "reading"
region = "{REGION}"
[image]
uri = "{IMAGE}"
[model]
bucket = "{BUCKET}"
revision = "0123abc"
[transform]
buckets = ["{BUCKET}"]
"""


@pytest.fixture
def emulator():
    """Emulator that starts a server for every job, as SageMaker does."""
    with (
        closing(EmulatedAccount()) as moto,
        run_emulator(moto, build_real_server()) as running,
    ):
        running.client("s3").create_bucket(Bucket=BUCKET)
        running.publish(IMAGE)
        yield running


@pytest.fixture
def chandra(emulator, tmp_path):
    """Return a function that runs a command against the emulator."""
    path = tmp_path / "chandra.toml"
    path.write_text(CONFIG)
    return create_command_runner(emulator, path)


def read_result(emulator, key):
    return json.loads(emulator.get_object(f"s3://{BUCKET}/{key}"))


def test_failed_document_is_reported_and_can_be_retried(chandra, emulator):
    emulator.put_object(
        "models/datalab-to/chandra/0123abc.tar.gz", b"the server has its own"
    )
    for name, body in (("a.png", PNG), ("sub/b.pdf", PDF), ("c.pdf", BROKEN)):
        emulator.put_object(f"scans/{name}", body)
    scans, results = f"s3://{BUCKET}/scans/", f"s3://{BUCKET}/json/"

    status, out, err = chandra("transform", "start", scans, results, "--format", "json")

    assert status == 1, out + err
    assert "2 of 3 documents read" in out
    assert "1 failed with unreadable_document" in out
    assert "  c.pdf" in out
    assert "pages read: 3" in out
    assert emulator.list_keys("json/") == ["json/a.png.out", "json/sub/b.pdf.out"]
    assert len(read_result(emulator, "json/a.png.out")["pages"]) == 1
    book = read_result(emulator, "json/sub/b.pdf.out")
    assert (book["status"], len(book["pages"])) == ("success", 2)

    repeated_status, repeated_output, _ = chandra(
        "transform", "start", scans, results, "--format", "json"
    )

    assert repeated_status == 1
    assert "has read these documents already" in repeated_output

    job_name = out.rpartition("retry --all ")[2].split()[0]
    emulator.put_object("scans/c.pdf", documents.pdf([["Page 1"]]))
    before = emulator.get_object(f"s3://{BUCKET}/json/sub/b.pdf.out")

    status, out, err = chandra("transform", "retry", job_name, "--json")

    assert status == 0, out + err
    summary = json.loads(out)
    assert (summary["documents"], summary["read"]) == (1, 1)
    assert read_result(emulator, "json/c.pdf.out")["status"] == "success"
    assert emulator.get_object(f"s3://{BUCKET}/json/sub/b.pdf.out") == before
