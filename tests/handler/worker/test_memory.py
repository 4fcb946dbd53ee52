"""Memory of the machine or the container, and the limits of processes."""

from __future__ import annotations

import pytest

from handler.worker.memory import (
    decoder_limit_bytes,
    memory_limit_bytes,
    writer_limit_bytes,
)

MIB, GIB = 1024**2, 1024**3


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:       16777216 kB\n")
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_memory_limit_defaults_to_that_of_the_machine(machine):
    assert memory_limit_bytes(machine) == 16 * GIB


def test_memory_limit_of_cgroup_v2_applies(machine):
    write(machine / "sys/fs/cgroup/memory.max", f"{4 * GIB}\n")

    assert memory_limit_bytes(machine) == 4 * GIB


def test_memory_limit_of_cgroup_v1_applies(machine):
    limit = machine / "sys/fs/cgroup/memory/memory.limit_in_bytes"
    write(limit, f"{2 * GIB}\n")

    assert memory_limit_bytes(machine) == 2 * GIB


@pytest.mark.parametrize("no_limit", ["max", "9223372036854771712"])
def test_missing_memory_limit_is_recognised(machine, no_limit):
    write(machine / "sys/fs/cgroup/memory.max", f"{no_limit}\n")

    assert memory_limit_bytes(machine) == 16 * GIB


@pytest.mark.parametrize(
    ("memory_gib", "num_decoders", "limit"),
    [(16, 2, 4 * GIB), (64, 2, 4 * GIB), (4, 2, GIB), (8, 4, GIB), (1, 2, 512 * MIB)],
)
def test_decoders_share_half_of_the_memory(memory_gib, num_decoders, limit):
    assert decoder_limit_bytes(memory_gib * GIB, num_decoders, 0) == limit


def test_decoders_have_extra_memory_for_the_largest_document():
    assert decoder_limit_bytes(4 * GIB, 2, GIB) == 2 * GIB


@pytest.mark.parametrize(
    ("memory_gib", "num_writers", "limit"),
    [(8, 1, GIB), (64, 1, 2 * GIB), (16, 2, GIB), (1, 1, 512 * MIB)],
)
def test_writers_share_an_eighth_of_the_memory(memory_gib, num_writers, limit):
    assert writer_limit_bytes(memory_gib * GIB, num_writers) == limit
