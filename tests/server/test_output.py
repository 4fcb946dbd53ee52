"""What leaves the container is one JSON object a line."""

from __future__ import annotations

import json
import logging

import pytest

from server.output import MAX_CHARACTERS, Output


@pytest.fixture
def lines():
    return []


@pytest.fixture
def output(lines):
    return Output(lines.append)


def test_a_line_that_is_an_object_passes_as_it_is(output, lines):
    output.line('{"event": "request", "status": 200}')

    assert lines == ['{"event": "request", "status": 200}']


@pytest.mark.parametrize(
    "text", ["Traceback (most recent call last):", "{not json", "[1, 2]", "{} {}"]
)
def test_anything_else_becomes_one(output, lines, text):
    output.line(text)

    [line] = map(json.loads, lines)
    assert (line["event"], line["level"]) == ("output", "warning")
    assert line["line"] == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "WARNING: sun.reflect.Reflection.getCallerClass is not supported.",
        'nvidia-smi not available or failed: Cannot run program "nvidia-smi"',
        "Model server started.",
        "2026-11-26 01:40:57 main ERROR Could not determine local host name x",
        "\tat java.base/java.net.InetAddress.getLocalHost(Unknown Source)",
        "\t... 18 more",
    ],
)
def test_what_every_start_says_is_left_out(output, lines, text):
    output.line(text)

    assert lines == []


def test_a_line_without_an_end_is_cut(output, lines):
    output.line("x" * 1_000_000)

    assert len(json.loads(lines[0])["line"]) == MAX_CHARACTERS


def test_an_event_has_a_time_a_level_and_its_numbers(output, lines):
    output.event("stop", logging.ERROR, reason="why", seconds=1.5)

    [line] = map(json.loads, lines)
    assert line.pop("time").endswith("Z")
    assert line == {"level": "error", "event": "stop", "reason": "why", "seconds": 1.5}
