"""Tests of the table of system calls on both architectures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from handler.sandbox import seccomp

HEADERS = {
    0: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    1: Path("/usr/include/asm-generic/unistd.h"),  # used by aarch64
}
TABLE = {
    **seccomp._DENIED,
    **seccomp._ABSENT,
    **seccomp._OWN_PROCESS_ONLY,
    "clone": seccomp._CLONE,
    "openat": (257, 56),
    "prlimit64": seccomp._PRLIMIT64,
    "ioctl": seccomp._IOCTL,
    "fcntl": seccomp._FCNTL,
}


@pytest.mark.parametrize("column", HEADERS)
def test_call_numbers_match_the_kernel_headers(column):
    if not HEADERS[column].exists():
        pytest.skip(f"this machine has no {HEADERS[column]}")
    pattern = r"#define __NR(?:3264)?_(\w+)\s+(\d+)"
    defined = dict(reversed(re.findall(pattern, HEADERS[column].read_text())))

    numbers_in_table = {name: numbers[column] for name, numbers in TABLE.items()}
    expected = {
        name: int(defined[name]) for name in numbers_in_table if name in defined
    }
    assert len(expected) > 100
    assert {name: numbers_in_table[name] for name in expected} == expected


@pytest.mark.parametrize(("column", "architecture"), seccomp._MACHINES.values())
def test_every_path_of_the_filter_returns(column, architecture):
    program = seccomp._build_program(column, architecture, 1, may_open_files=True)
    steps = [program[at : at + 8] for at in range(0, len(program), 8)]

    for at, (code, _, if_true, if_false, *_) in enumerate(steps):
        if code & 7 == 5:  # a jump
            assert at + 1 + max(if_true, if_false) < len(steps)
    assert steps[-1][0] == seccomp._RETURN
