"""How much memory there is: the machine's, or what the container was given of it."""

from __future__ import annotations

import pytest

from server.memory import memory_limit_bytes

GIB = 1024**3


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:       16777216 kB\n")
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_without_a_limit_it_is_the_machines(machine):
    assert memory_limit_bytes(machine) == 16 * GIB


def test_a_containers_limit_counts(machine):
    write(machine / "sys/fs/cgroup/memory.max", f"{4 * GIB}\n")

    assert memory_limit_bytes(machine) == 4 * GIB


def test_the_older_kind_of_limit_counts_too(machine):
    limit = machine / "sys/fs/cgroup/memory/memory.limit_in_bytes"
    write(limit, f"{2 * GIB}\n")

    assert memory_limit_bytes(machine) == 2 * GIB


@pytest.mark.parametrize("no_limit", ["max", "9223372036854771712"])
def test_no_limit_has_many_names(machine, no_limit):
    write(machine / "sys/fs/cgroup/memory.max", f"{no_limit}\n")

    assert memory_limit_bytes(machine) == 16 * GIB
