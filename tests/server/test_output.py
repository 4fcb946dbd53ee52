"""Log output of a container, one JSON object a line."""

from __future__ import annotations

import json
import logging

import pytest

from server.output import MAX_CHARACTERS, EventWriter


@pytest.fixture
def lines():
    return []


@pytest.fixture
def output(lines):
    return EventWriter(lines.append)


def test_json_object_is_written_unchanged(output, lines):
    output.write_line('{"event": "request", "status": 200}')

    assert lines == ['{"event": "request", "status": 200}']


@pytest.mark.parametrize(
    "text", ["Traceback (most recent call last):", "{not json", "[1, 2]", "{} {}"]
)
def test_plain_text_becomes_an_output_event(output, lines, text):
    output.write_line(text)

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
def test_known_noise_is_dropped(output, lines, text):
    output.write_line(text)

    assert lines == []


def test_very_long_line_is_truncated(output, lines):
    output.write_line("x" * 1_000_000)

    assert len(json.loads(lines[0])["line"]) == MAX_CHARACTERS


def test_event_has_a_time_a_level_and_its_fields(output, lines):
    output.write_event("stop", logging.ERROR, reason="why", seconds=1.5)

    [line] = map(json.loads, lines)
    assert line.pop("time").endswith("Z")
    assert line == {"level": "error", "event": "stop", "reason": "why", "seconds": 1.5}
