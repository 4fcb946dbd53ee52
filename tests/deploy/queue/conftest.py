"""Fixtures of a queue: buckets, a folder of documents, and the ledger."""

from __future__ import annotations

import pytest

from deploy.queue.ledger import SqliteLedger
from tests.deploy.contents import PDF, PNG
from tests.deploy.queue import configs
from tests.deploy.queue.queued import (
    BROKEN,
    CONFIG_TEMPLATE,
    FakeQueue,
)


@pytest.fixture
def queue(cloud, wire, project):
    """Create the buckets and the configuration; return the fake endpoint."""
    for bucket in ("exchange", "scans", "others"):
        wire.call("s3", "create_bucket", Bucket=bucket)
    project(CONFIG_TEMPLATE.format(isolation="true"))
    cloud.invoked = FakeQueue(wire)
    return cloud.invoked


@pytest.fixture
def folder(tmp_path):
    """Return a folder with three documents, one of them broken, and another file."""
    root = tmp_path / "scans"
    (root / "2026").mkdir(parents=True)
    (root / "a.pdf").write_bytes(PDF + b"first")
    (root / "2026" / "b.png").write_bytes(PNG + b"second")
    (root / "c.pdf").write_bytes(PDF + BROKEN)
    (root / "notes.docx").write_bytes(b"words")
    return root


@pytest.fixture
def ledger(tmp_path):
    """Return a function that opens the ledger; all are closed at the end."""
    ledgers = []

    def open_ledger():
        ledgers.append(SqliteLedger(tmp_path / "chandra.ledger.db"))
        return ledgers[-1]

    yield open_ledger
    for each in ledgers:
        each.close()


@pytest.fixture
def deployed(chandra, project, wire, staged):
    """Deploy the asynchronous endpoint; return the result of the command."""
    wire.call("s3", "create_bucket", Bucket="exchange")
    project(configs.QUEUE_CONFIG)
    result = chandra("async", "deploy")
    assert result.status == 0, result.err
    return result
