"""Read-ahead of files, which never makes a load fail."""

from __future__ import annotations

import os

import pytest

from bench.cold_start import drop_from_page_cache
from handler.weights.read_ahead import PART_BYTES, ReadAhead


@pytest.fixture
def files(tmp_path):
    sizes = {"a": PART_BYTES + 5, "b": 3, "c": 0}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(bytes(size))
    return [tmp_path / name for name in sizes]


@pytest.mark.parametrize("num_threads", [1, 4])
def test_every_byte_is_read_once(files, num_threads):
    num_bytes, seconds = ReadAhead(files, num_threads).wait()

    assert num_bytes == PART_BYTES + 8
    assert seconds > 0


def test_read_ahead_of_no_files_ends_at_once():
    assert ReadAhead([]).wait() == (0, 0.0)


def test_missing_file_is_not_an_error(files):
    ahead = ReadAhead(files, num_threads=1)
    for file in files:
        file.unlink()

    assert ahead.wait()[0] <= PART_BYTES + 8


def test_cancel_stops_before_the_next_part(tmp_path):
    file = tmp_path / "large"
    with file.open("wb") as large:
        large.truncate(100 * PART_BYTES)
    ahead = ReadAhead([file], num_threads=1)

    ahead.cancel()

    assert ahead.wait()[0] < 100 * PART_BYTES


def test_bytes_read_are_in_the_page_cache(tmp_path):
    file = tmp_path / "weights"
    content = os.urandom(3 * PART_BYTES + 5)
    file.write_bytes(content)
    drop_from_page_cache([file])

    ReadAhead([file]).wait()

    with file.open("rb") as cached:
        buffer = bytearray(len(content))
        # RWF_NOWAIT fails if the bytes would have to be read from the disk.
        assert os.preadv(cached.fileno(), [buffer], 0, os.RWF_NOWAIT) == len(content)
    assert buffer == content
