"""Runs of engines with a constant number of concurrent pages."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.runs.running import EngineRun, read_pages
from handler.engine.request import EngineOutput, EngineRequest, FinishReason
from handler.engine.steps import StepTimer
from handler.schema import Page


class OnePagePerStepEngine:
    """Fake engine that finishes its oldest page in each step."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.max_waiting = 0
        self.steps = StepTimer()

    def submit(self, request: EngineRequest) -> None:
        self.waiting.append(request.id)
        self.max_waiting = max(self.max_waiting, len(self.waiting))

    def cancel(self, engine_request_id: str) -> None:
        raise NotImplementedError

    @property
    def has_work(self) -> bool:
        return bool(self.waiting)

    def count_output_tokens(self) -> dict[str, int]:
        return {}

    def step(self, poll: Callable[[], None]) -> list[EngineOutput]:
        return [
            EngineOutput(
                self.waiting.pop(0),
                FinishReason.STOP,
                text="text",
                num_output_tokens=10,
                num_forwards=4,
                num_drafted_tokens=8,
                num_accepted_tokens=6,
            )
        ]


def make_requests(count: int) -> list[EngineRequest]:
    page = Page(1, 1, 1, 1, 1, b"")
    return [EngineRequest(str(n), "a", page, "", 10) for n in range(count)]


def make_ticking_clock() -> Callable[[], float]:
    """Return a clock that advances by a second with each call."""
    times = iter(range(1000))
    return lambda: float(next(times))


@pytest.mark.parametrize("in_flight", [1, 3])
def test_number_of_concurrent_pages_is_limited(in_flight):
    engine = OnePagePerStepEngine()

    run = read_pages(engine, make_requests(7), in_flight=in_flight)

    assert engine.max_waiting == in_flight
    assert set(run.outputs) == {str(n) for n in range(7)}


def test_a_pages_latency_counts_from_its_submission():
    run = read_pages(
        OnePagePerStepEngine(),
        make_requests(2),
        in_flight=1,
        clock=make_ticking_clock(),
    )

    assert run.latencies == (1.0, 1.0)
    assert run.seconds == 5.0


def test_run_has_throughput_and_draft_rates():
    run = read_pages(OnePagePerStepEngine(), make_requests(4), in_flight=2)

    assert run.num_tokens == 40
    assert run.tokens_per_forward == 2.5
    assert run.acceptance_rate == 0.75
    assert run.num_same_texts(run) == 4


def test_acceptance_rate_is_none_without_drafts():
    run = EngineRun(1.0, (1.0,), {"a": EngineOutput("a", FinishReason.STOP)})

    assert run.acceptance_rate is None


def test_latency_is_a_percentile_over_the_pages():
    run = EngineRun(1.0, tuple(map(float, range(1, 102))), {})

    assert run.latency(50) == 51.0
    assert run.latency(95) == 96.0
    assert EngineRun(1.0, (7.0,), {}).latency(95) == 7.0
