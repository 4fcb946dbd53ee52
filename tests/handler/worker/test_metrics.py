"""Metrics of answered requests, and their declaration for TorchServe."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from handler.schema import PageError, PageResult, Status
from handler.worker.metrics import COUNTERS, GAUGES, HISTOGRAMS, WorkerMetrics

DECLARED = yaml.safe_load(
    (Path(__file__).parents[3] / "server" / "metrics.yaml").read_text()
)["model_metrics"]


METRICS_OF_TORCHSERVE = {"PredictionTime"}
"""Metrics that TorchServe records by itself."""
KINDS = ("counter", "gauge", "histogram")


class RecordedMetrics:
    """Fake metrics of TorchServe that remember their values and dimensions."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}
        self.dimensions: dict[str, list[list[str]]] = {}
        self.kinds: dict[str, str] = {}

    def find(self, kind: str, name: str) -> RecordedMetric:
        self.kinds[name] = kind
        return RecordedMetric(self, name)

    def total(self, name: str) -> float:
        return sum(self.values.get(name, []))


class RecordedMetric:
    def __init__(self, metrics: RecordedMetrics, name: str) -> None:
        self._metrics = metrics
        self._name = name

    def add_or_update(self, value: float, dimension_values: list[str]) -> None:
        self._metrics.values.setdefault(self._name, []).append(value)
        self._metrics.dimensions.setdefault(self._name, []).append(dimension_values)


@pytest.fixture
def recorded():
    return RecordedMetrics()


@pytest.fixture
def metrics(recorded):
    return WorkerMetrics(recorded.find, "chandra")


def read(number: int, **fields) -> PageResult:
    return PageResult(number, Status.SUCCESS, attempts=1, **fields)


def failed(number: int, code: str, attempts: int = 0) -> PageResult:
    error = PageError(code, "no")
    return PageResult(number, Status.FAILURE, attempts=attempts, error=error)


@pytest.mark.parametrize(
    ("kind", "names"),
    [("counter", COUNTERS), ("histogram", HISTOGRAMS), ("gauge", GAUGES)],
)
def test_metrics_are_declared_with_their_kind(kind, names):
    assert {metric["name"] for metric in DECLARED[kind]} - METRICS_OF_TORCHSERVE == set(
        names
    )


def test_metrics_are_recorded_as_their_declared_kinds(metrics, recorded):
    declared = {
        metric["name"]: kind
        for kind in KINDS
        for metric in DECLARED[kind]
        if metric["name"] not in METRICS_OF_TORCHSERVE
    }

    assert recorded.kinds == declared


def test_every_value_comes_with_the_dimensions_that_are_declared(metrics, recorded):
    metrics.record([read(1), failed(2, "unreadable_document", 2)], None, 1.0)

    declared = {
        metric["name"]: len(metric["dimensions"])
        for kind in KINDS
        for metric in DECLARED[kind]
        if metric["name"] not in METRICS_OF_TORCHSERVE
    }
    recorded_dimensions = {
        name: len(values[0]) for name, values in recorded.dimensions.items()
    }
    assert recorded_dimensions == declared


def test_failures_have_the_code_as_their_last_dimension():
    [failures] = [m for m in DECLARED["counter"] if m["name"] == "Failures"]

    assert failures["dimensions"] == ["ModelName", "Level", "Code"]


def test_successful_request_counts_pages_tokens_and_seconds(metrics, recorded):
    pages = [
        read(
            1,
            output_tokens=800,
            forwards=400,
            drafted_tokens=500,
            accepted_tokens=401,
            queue_seconds=0.5,
            page_seconds=2.0,
        ),
        read(2, output_tokens=12, forwards=13, page_seconds=1.0),
    ]

    metrics.record(pages, None, 3.5)

    assert recorded.values == {
        "EngineFallbacks": [0],
        "Requests": [1],
        "RequestSeconds": [3.5],
        "Pages": [1, 1],
        "OutputTokens": [800, 12],
        "Forwards": [400, 13],
        "DraftedTokens": [500, 0],
        "AcceptedTokens": [401, 0],
        "QueueSeconds": [0.5, 0.0],
        "PageSeconds": [2.0, 1.0],
    }
    assert recorded.dimensions["Requests"] == [["chandra", "Model"]]


def test_failed_page_is_counted_by_code_without_page_time(metrics, recorded):
    metrics.record([read(1), failed(2, "unreadable_document")], None, 1.0)

    assert recorded.dimensions["Failures"] == [
        ["chandra", "Model", "unreadable_document"]
    ]
    assert recorded.total("Pages") == 2
    assert len(recorded.values["PageSeconds"]) == 1


def test_failed_request_is_counted_as_one_failure(metrics, recorded):
    pages = [failed(n, "engine_failed") for n in (1, 2, 3)]

    metrics.record(pages, "engine_failed", 1.0)

    assert recorded.dimensions["Failures"] == [["chandra", "Model", "engine_failed"]]


def test_refused_request_counts_no_pages(metrics, recorded):
    metrics.record([], "overloaded", 0.0)

    assert set(recorded.values) == {
        *("EngineFallbacks", "Requests", "RequestSeconds", "Failures")
    }


def test_fallbacks_are_recorded_at_start_and_with_each_request(recorded):
    metrics = WorkerMetrics(recorded.find, "chandra", lambda: 2)

    metrics.record_fallbacks()
    metrics.record([], None, 0.0)

    assert recorded.values["EngineFallbacks"] == [2, 2]


def test_retries_are_counted(metrics, recorded):
    metrics.record([failed(1, "engine_failed", attempts=2), read(2)], None, 1.0)

    assert recorded.total("Retries") == 1
