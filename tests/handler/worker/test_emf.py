"""Metrics in the log, in CloudWatch's embedded metric format."""

from __future__ import annotations

import json
import logging

import pytest

from handler.logs import JSONFormatter
from handler.schema import PageError, PageResult, Status
from handler.worker.emf import MAX_VALUES, NAMESPACE, EmbeddedMetrics


def page(number: int = 1, page_seconds: float = 1.5) -> PageResult:
    return PageResult(
        page=number,
        status=Status.SUCCESS,
        output_tokens=7,
        page_seconds=page_seconds,
        queue_seconds=0.25,
    )


def failed(code: str) -> PageResult:
    return PageResult(page=9, status=Status.FAILURE, error=PageError(code, "why"))


@pytest.fixture
def record(caplog):
    """Function that records one request and returns the logged lines."""

    def record_request(pages, code=None, seconds=2.0, memory=None, fallbacks=0):
        metrics = EmbeddedMetrics(
            "mini", lambda: memory, lambda: fallbacks, clock=lambda: 12.5
        )
        logger = logging.getLogger("handler.worker.emf")
        logger.addHandler(caplog.handler)
        try:
            with caplog.at_level(logging.INFO, logger.name):
                metrics.record(pages, code, seconds)
        finally:
            logger.removeHandler(caplog.handler)
        records = [r for r in dict.fromkeys(caplog.records) if r.name == logger.name]
        return [json.loads(JSONFormatter().format(each)) for each in records]

    return record_request


def test_each_declared_metric_has_a_value_in_the_line(record):
    [line] = record([page(), page(2)])

    assert line["_aws"]["Timestamp"] == 12500
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == NAMESPACE
    assert directive["Dimensions"] == [["ModelId"]]
    assert line["ModelId"] == "mini"
    for metric in directive["Metrics"]:
        assert line[metric["Name"]] is not None


def test_line_has_pages_tokens_and_times(record):
    [line] = record([page(), page(2, page_seconds=2.5)])

    assert (line["Requests"], line["Pages"], line["OutputTokens"]) == (1, 2, 14)
    assert line["PageSeconds"] == [1.5, 2.5]
    assert line["QueueSeconds"] == [0.25, 0.25]
    assert line["RequestSeconds"] == 2.0


def test_line_has_the_gpu_memory(record):
    [line] = record([page()], memory=18_000_000_000)

    assert line["GPUMemory"] == 18_000_000_000


def test_line_has_no_gpu_memory_without_a_gpu(record):
    [line] = record([page()])

    assert "GPUMemory" not in line


def test_failures_of_pages_are_counted_by_code(record):
    _, *lines = record([page(), failed("unreadable_document"), failed("overloaded")])

    assert {line["Code"]: line["Failures"] for line in lines} == {
        "unreadable_document": 1,
        "overloaded": 1,
    }
    [directive] = lines[0]["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["ModelId", "Code"]]


def test_failed_request_counts_as_one_failure(record):
    _, line = record([failed("unreadable_document")], code="unreadable_document")

    assert line["Failures"] == 1


def test_values_above_the_limit_are_in_a_second_line(record):
    first, second = record([page(n) for n in range(MAX_VALUES + 1)])

    assert len(first["PageSeconds"]) == MAX_VALUES
    assert len(second["PageSeconds"]) == 1
    assert "Pages" not in second


def test_fallbacks_of_the_engine_are_a_metric(record):
    [line] = record([page()], fallbacks=2)

    assert line["EngineFallbacks"] == 2
