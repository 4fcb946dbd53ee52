"""Temporary file of a document: access and lifetime."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from handler.processes.pool import Pool
from handler.sandbox.wire import Descriptor
from handler.storage.spool import Spool


def read_all(document: Descriptor) -> bytes:
    return os.pread(document, 1000, 0)


@pytest.fixture
def spool(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = Spool(b"%PDF-1.7")
    yield spool
    spool.close()


def test_another_process_can_read_the_spool(spool):
    pool = Pool(1, modules=[__name__])

    content = pool.call(10, read_all, spool.read_only)

    pool.close()
    assert content == b"%PDF-1.7"


def test_read_only_descriptor_cannot_write(spool):
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(spool.read_only, b"x", 0)


def test_a_document_may_be_read_more_than_once(spool):
    assert Path(spool.path).read_bytes() == Path(spool.path).read_bytes() != b""


def test_spool_has_no_file_name(spool, tmp_path):
    assert list(tmp_path.iterdir()) == []


def test_closed_spool_is_deleted(spool):
    path = Path(spool.path)

    spool.close()

    assert not path.exists()


def test_closing_twice_is_harmless(spool):
    spool.close()
    spool.close()
