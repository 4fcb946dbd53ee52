"""Output of commands to a terminal and to a program."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import termios
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, strategies as st

from deploy.console import Console, minute, printable, progress_line


class Terminal(io.StringIO):
    """Terminal that records its output."""

    def isatty(self) -> bool:
        return True


@given(st.text(), st.integers(0, 2**40), st.integers(1, 2**40), st.integers(1, 300))
def test_progress_is_narrower_than_the_terminal(label, done, total, columns):
    line = progress_line(label, done, total, columns)

    assert len(line) == max(1, min(columns - 1, 100))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (80, "image [###############               ] 50.0 MB of 100.0 MB"),
        (50, "image [##########           ] 50.0 MB of 100.0 MB"),
        (30, "image 50.0 MB of 100.0 MB"),
        (20, "image  50%"),
        (6, "50%"),
    ],
)
def test_progress_drops_parts_that_do_not_fit(columns, expected):
    line = progress_line("image", 50_000_000, 100_000_000, columns)

    assert line.rstrip() == expected


def test_progress_overwrites_its_line_on_a_terminal():
    terminal = Terminal()
    console = Console(err=terminal, columns=40)

    console.show_progress("image", 10_000_000, 20_000_000)
    console.show_progress("image", 20_000_000, 20_000_000)

    first, second = terminal.getvalue().split("\r")[1:]
    assert len(first) == 39
    assert second.endswith("\n")


@pytest.mark.parametrize("label", ["書類の束", "a\u0301b", "\x1b[2J", "a\nb", "\udcff"])
def test_progress_escapes_wide_characters(label):
    line = progress_line(label, 50_000_000, 100_000_000, 80)

    assert label.encode("unicode_escape").decode()[:9] in line
    assert line.isascii()


def test_progress_fits_the_terminal_that_shows_it():
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 26, 0, 0))

    with os.fdopen(writing, "w") as terminal:
        Console(err=terminal).show_progress("image", 10_000_000, 20_000_000)
        shown = os.read(reading, 1000).decode()
    os.close(reading)

    assert len(shown.strip("\r")) == 25


def test_questions_have_no_control_characters():
    terminal, answers = Terminal(), Terminal("y\n")

    assert Console(err=terminal, answers=answers).confirm("delete \x1b[2Ja?")
    assert terminal.getvalue() == r"delete \x1b[2Ja? [y/N] "


@given(st.text(st.characters(codec="utf-8")))
def test_printable_text_has_no_controls_and_keeps_the_rest(text):
    shown = printable(text)

    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    if not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text):
        assert shown == text


def test_documents_are_escaped_on_a_terminal_only():
    terminal, file = Terminal(), io.StringIO()

    Console(out=terminal).write("a\x1b[31m")
    Console(out=file).write("a\x1b[31m")

    assert terminal.getvalue() == r"a\x1b[31m"
    assert file.getvalue() == "a\x1b[31m"


def test_times_in_json_are_iso_8601_with_a_zone():
    out = io.StringIO()
    when = datetime(2026, 11, 30, 9, 5, tzinfo=UTC)

    Console(as_json=True, out=out).print_result({"created": when})

    assert json.loads(out.getvalue()) == {"created": "2026-11-30T09:05:00+00:00"}


def test_times_in_tables_have_a_zone():
    east = timezone(timedelta(hours=1), "CET")

    assert minute(datetime(2026, 11, 30, 9, 5, tzinfo=UTC)) == "2026-11-30 09:05 UTC"
    assert minute(datetime(2026, 11, 30, 9, 5, tzinfo=east)) == "2026-11-30 09:05 CET"
