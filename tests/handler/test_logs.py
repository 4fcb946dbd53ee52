"""Log records as one JSON object per line."""

from __future__ import annotations

import errno
import io
import json
import logging
import logging.handlers
import queue
import re
import sys
import uuid
from pathlib import Path

import pytest

from handler.logs import DescriptorShortageFilter, JSONFormatter, log_to_stdout


@pytest.fixture
def output(monkeypatch):
    """Standard output during a test."""
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    return output


@pytest.fixture
def logger(output):
    """Logger that only one test uses."""
    logger = logging.getLogger(f"test-{uuid.uuid4()}")
    log_to_stdout(logger.name)
    yield logger
    logger.handlers = []


@pytest.fixture
def lines(output):
    """Function that returns the printed lines as objects."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return lambda: [
        json.loads(line, parse_constant=refuse)
        for line in output.getvalue().split("\n")[:-1]
    ]


def test_an_event_and_its_numbers_are_one_line(logger, lines):
    logger.info("page read", extra={"page": 3, "output_tokens": 812})

    [line] = lines()
    assert line.pop("time")
    assert line == {
        "level": "info",
        "event": "page read",
        "page": 3,
        "output_tokens": 812,
    }


def test_the_time_is_utc_to_the_millisecond():
    record = logging.makeLogRecord({"msg": "x", "created": 1.25, "msecs": 250.0})

    line = json.loads(JSONFormatter().format(record))

    assert line["time"] == "1970-01-01T00:00:01.250Z"


def test_time_of_an_event_is_iso_8601(logger, lines):
    logger.info("x")

    assert re.fullmatch(r"\d{4}(-\d\d){2}T(\d\d:){2}\d\d\.\d{3}Z", lines()[0]["time"])


def test_arguments_are_put_into_the_event(logger, lines):
    logger.warning("%d of %s", 3, "pages")

    assert lines()[0]["event"] == "3 of pages"


def test_a_line_break_does_not_break_the_line(logger, lines):
    logger.info("one\ntwo", extra={"reason": "three\r\nfour\u2028five"})

    [line] = lines()
    assert line["event"] == "one\ntwo"
    assert line["reason"] == "three\r\nfour\u2028five"


def test_a_traceback_is_part_of_the_same_line(logger, lines):
    try:
        raise ValueError("page 3")
    except ValueError:
        logger.exception("request failed", extra={"request_id": "id-1"})

    [line] = lines()
    assert line["request_id"] == "id-1"
    assert line["traceback"].startswith("Traceback ")
    assert line["traceback"].endswith("ValueError: page 3")


@pytest.mark.parametrize(
    "value",
    [
        b"\xff",
        Path("/tmp"),
        {1, 2},
        {1: {"a": Path("/tmp")}},
        object(),
        ValueError("no"),
        "\ud800",
        10**400,
        float("nan"),
        float("-inf"),
        {(1, 2): 3},
        logging.INFO,
        None,
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_json_lacks_are_written_as_text(logger, lines, value):
    logger.info("odd", extra={"value": value, "page": 3})

    [line] = lines()
    assert "value" in line
    assert str(line["page"]) == "3"


def test_debug_records_are_not_written(logger, lines):
    logger.debug("x")

    assert lines() == []


def test_second_set_up_does_not_duplicate_lines(logger, lines, output, monkeypatch):
    monkeypatch.setattr(sys, "stdout", output)
    log_to_stdout(logger.name)

    logger.info("x")

    assert len(lines()) == 1


def test_events_do_not_reach_the_root_logger(logger):
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    root_handler = logging.handlers.QueueHandler(records)
    logging.getLogger().addHandler(root_handler)

    logger.error("x")

    logging.getLogger().removeHandler(root_handler)
    assert records.empty()


def record_of(error: BaseException) -> logging.LogRecord:
    return logging.makeLogRecord({"exc_info": (type(error), error, None)})


def test_a_lack_of_descriptors_is_logged_once_a_minute():
    now = [1000.0]
    rate_limit = DescriptorShortageFilter(lambda: now[0])
    error = RuntimeError("no decoder")
    error.__cause__ = OSError(errno.EMFILE, "Too many open files")

    passed = []
    for seconds in (0, 1, 58, 2):
        now[0] += seconds
        passed.append(rate_limit.filter(record_of(error)))

    assert passed == [True, False, False, True]


def test_other_errors_are_logged_every_time():
    rate_limit = DescriptorShortageFilter(lambda: 1000.0)

    assert all(
        rate_limit.filter(record_of(OSError(errno.ENOSPC, "full"))) for _ in "ab"
    )
    assert all(rate_limit.filter(logging.makeLogRecord({})) for _ in "ab")
