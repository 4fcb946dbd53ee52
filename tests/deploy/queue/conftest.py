"""Fixtures of the queue: its bucket, a folder of documents, and the ledger."""

from __future__ import annotations

import pytest

from deploy.queue.ledger import SqliteLedger
from tests.deploy.contents import PDF, PNG
from tests.deploy.queue import configs
from tests.deploy.queue.queued import (
    BROKEN,
    EXTRA,
    FakeQueue,
)


@pytest.fixture
def queue(cloud, wire, project):
    """The bucket, the configuration, and what accepts documents."""
    for bucket in ("exchange", "scans", "others"):
        wire.call("s3", "create_bucket", Bucket=bucket)
    project(EXTRA.format(isolation="true"))
    cloud.invoked = FakeQueue(wire)
    return cloud.invoked


@pytest.fixture
def folder(tmp_path):
    """Three documents, one of them broken, and what is none."""
    root = tmp_path / "scans"
    (root / "2026").mkdir(parents=True)
    (root / "a.pdf").write_bytes(PDF + b"first")
    (root / "2026" / "b.png").write_bytes(PNG + b"second")
    (root / "c.pdf").write_bytes(PDF + BROKEN)
    (root / "notes.docx").write_bytes(b"words")
    return root


@pytest.fixture
def ledger(tmp_path):
    """The ledger as it is when it is asked for."""
    opened = []

    def now():
        opened.append(SqliteLedger(tmp_path / "chandra.ledger.db"))
        return opened[-1]

    yield now
    for each in opened:
        each.close()


@pytest.fixture
def deployed(chandra, project, wire, staged):
    wire.call("s3", "create_bucket", Bucket="exchange")
    project(configs.EXTRA)
    ran = chandra("async", "deploy")
    assert ran.status == 0, ran.err
    return ran
