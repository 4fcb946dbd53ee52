"""Steady state of an engine with a constant number of concurrent pages.

The start and the end of a run are excluded. The first pages are truncated to different
shares of their length, so that pages begin and end at different times from the start.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise

from bench.costs.roofline import Costs, Decode, DeviceRates, Prefill
from bench.teacher_forcing.forcing import DeviceTimer, ForcedPage, ForcedRunner, Forward
from handler.engine.batching.native import NativeEngine
from handler.engine.device.encoder import TorchPrompt
from handler.engine.request import EngineOutput, FinishReason

__all__ = ["SteadyState", "check_length", "percentiles", "run_steadily"]

_DROPPED_SHARE = 0.1
"""Share of the time that is excluded at either end."""
_MIN_STEPS = 20


@dataclass(frozen=True, slots=True)
class SteadyState:
    """Measurements between two steps of a run."""

    seconds: float
    num_tokens: int
    mean_length: float
    """Mean number of tokens of all pages."""
    step_seconds: tuple[float, ...]
    forwards: tuple[Forward, ...]
    latencies: tuple[float, ...]
    """Seconds from the submission to the end of untruncated pages."""
    num_projected: int
    """Latencies of cancelled pages, with the rest projected at the mean pace."""
    num_ended: int
    """Number of pages that ended, truncated or not."""

    def report(
        self, costs: Costs, rates: DeviceRates, timer: DeviceTimer
    ) -> dict[str, object]:
        """Return the results; times are in seconds unless the name says otherwise."""
        decode_seconds, prefill_seconds = [], []
        decodes, prefills = [], []
        for forward in self.forwards:
            took = timer.seconds_between(forward.begin, forward.end)
            if isinstance(forward.work, Decode):
                decodes.append(forward.work)
                decode_seconds.append(took)
            else:
                prefills.append(forward.work)
                prefill_seconds.append(took)
        in_decode, in_prefill = sum(decode_seconds), sum(prefill_seconds)
        ideal_decode = sum(costs.seconds(work, rates) for work in decodes)
        ideal_prefill = sum(costs.seconds(work, rates) for work in prefills)
        num_sampled_rows, num_drafted = _count_drafts(self.forwards)
        num_accepted = max(0, self.num_tokens - num_sampled_rows)
        return {
            "seconds": self.seconds,
            "pages_per_second": self.num_tokens / self.mean_length / self.seconds,
            "tokens_per_second": self.num_tokens / self.seconds,
            "tokens_per_forward": self.num_tokens / num_sampled_rows
            if num_sampled_rows
            else None,
            "acceptance": num_accepted / num_drafted if num_drafted else None,
            "step_ms": percentiles(self.step_seconds, 1000),
            "decode_ms": percentiles(decode_seconds, 1000),
            "page_latency": percentiles(self.latencies),
            "page_latency_projected": self.num_projected,
            "pages_ended": self.num_ended,
            "pages_begun": sum(work.start == 0 for work in prefills),
            "mean_rows": _mean([work.num_rows for work in decodes]),
            "prefill_share": in_prefill / self.seconds,
            "decode_share": in_decode / self.seconds,
            "fraction_of_roofline": self.fraction_of_roofline(costs, rates),
            "decode_fraction_of_roofline": _ratio(ideal_decode, in_decode),
            "prefill_fraction_of_roofline": _ratio(ideal_prefill, in_prefill),
        }

    def ideal_seconds(self, costs: Costs, rates: DeviceRates) -> float:
        """Return the minimum seconds of the same forward passes at the given rates."""
        return sum(costs.seconds(forward.work, rates) for forward in self.forwards)

    def fraction_of_roofline(self, costs: Costs, rates: DeviceRates) -> float:
        """Return the minimum seconds of all forward passes over the measured ones."""
        return self.ideal_seconds(costs, rates) / self.seconds


def run_steadily(
    engine: NativeEngine[TorchPrompt],
    runner: ForcedRunner,
    pages: Sequence[ForcedPage],
    *,
    in_flight: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> SteadyState:
    """Keep `in_flight` pages in the engine for `seconds`, and return measurements.

    The time starts when all of the first pages have a token. Pages that still run at
    the end are cancelled. Raise RuntimeError if a page ends before its forced length.
    """
    running_pages = _RunningPages(engine, runner, pages, in_flight, clock)
    while running_pages.num_without_token:
        running_pages.step()
    full_at = clock()
    steps = [running_pages.progress()]
    while clock() < full_at + seconds or len(steps) < _MIN_STEPS:
        running_pages.step()
        steps.append(running_pages.progress())

    first, last = _middle(steps)
    between = steps[first : last + 1]
    begin, end = between[0], between[-1]
    duration, num_tokens = end.at - begin.at, end.num_tokens - begin.num_tokens
    projected = running_pages.cancel(
        token_seconds=in_flight * duration / max(1, num_tokens)
    )
    return SteadyState(
        seconds=duration,
        num_tokens=num_tokens,
        mean_length=statistics.fmean(len(page.tokens) for page in pages),
        step_seconds=tuple(after.at - before.at for before, after in pairwise(between)),
        forwards=tuple(runner.forwards[begin.num_forwards : end.num_forwards]),
        latencies=(*running_pages.latencies, *projected),
        num_projected=len(projected),
        num_ended=end.num_ended - begin.num_ended,
    )


@dataclass(frozen=True, slots=True)
class _RunProgress:
    """Progress of a run after a step."""

    at: float
    num_tokens: int
    """Number of output tokens so far, over all pages."""
    num_forwards: int
    num_ended: int


@dataclass(slots=True)
class _Submitted:
    at: float
    length: int
    is_whole: bool
    num_page_tokens: int = 0


class _RunningPages:
    """Concurrent pages in an engine: when one ends, the next is submitted."""

    def __init__(
        self,
        engine: NativeEngine[TorchPrompt],
        runner: ForcedRunner,
        pages: Sequence[ForcedPage],
        in_flight: int,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._runner = runner
        self._source = _repeat_pages(pages, in_flight)
        self._in_flight = in_flight
        self._clock = clock
        self._submitted: dict[str, _Submitted] = {}
        self._num_with_token = 0
        """Number of the first pages that have an output token."""
        self._num_ended = 0
        self._num_tokens = 0
        """Number of output tokens of ended pages."""
        self.latencies: list[float] = []
        """Latencies of untruncated pages that have ended."""

    @property
    def num_without_token(self) -> int:
        """Number of the first pages that have no output token so far."""
        return self._in_flight - self._num_with_token

    def progress(self) -> _RunProgress:
        num_running = sum(page.num_page_tokens for page in self._submitted.values())
        return _RunProgress(
            self._clock(),
            self._num_tokens + num_running,
            len(self._runner.forwards),
            self._num_ended,
        )

    def step(self) -> None:
        """Submit pages until enough are running, and run one step of the engine.

        Raise RuntimeError if a page ends before its forced length.
        """
        while len(self._submitted) < self._in_flight:
            self._submit()
        ended = self._engine.step(lambda: None)
        # A preempted page is not among these, and keeps its tokens.
        for name, num_page_tokens in self._engine.count_output_tokens().items():
            self._update_tokens(name, num_page_tokens)
        for output in ended:
            page = self._submitted[output.engine_request_id]
            check_length(output, page.length)
            self._update_tokens(output.engine_request_id, page.length)
            del self._submitted[output.engine_request_id]
            self._num_ended += 1
            self._num_tokens += page.length
            if page.is_whole:
                self.latencies.append(self._clock() - page.at)

    def cancel(self, *, token_seconds: float) -> list[float]:
        """Cancel all running pages, and return projected latencies of untruncated ones.

        The projection assumes `token_seconds` for each remaining token.
        """
        now = self._clock()
        projected = [
            now - page.at + (page.length - page.num_page_tokens) * token_seconds
            for page in self._submitted.values()
            if page.is_whole
        ]
        for name in self._submitted:
            self._engine.cancel(name)
        self._engine.step(lambda: None)
        return projected

    def _submit(self) -> None:
        page, is_whole = next(self._source)
        self._runner.add_answer(page)
        self._submitted[page.request.id] = _Submitted(
            self._clock(), len(page.tokens), is_whole
        )
        self._engine.submit(page.request)

    def _update_tokens(self, name: str, num_page_tokens: int) -> None:
        page = self._submitted[name]
        self._num_with_token += (
            not page.is_whole and not page.num_page_tokens and num_page_tokens > 0
        )
        page.num_page_tokens = num_page_tokens


def check_length(output: EngineOutput, length: int) -> None:
    """Raise RuntimeError if a page did not end at its forced length."""
    reason, num_tokens = output.finish_reason, output.num_output_tokens
    if reason is not FinishReason.LENGTH or num_tokens != length:
        raise RuntimeError(
            f"{output.engine_request_id} ended by {reason} after {num_tokens} of "
            f"{length} forced tokens: {output.error}"
        )


def percentiles(
    values: Sequence[float], factor: float = 1.0
) -> dict[str, float] | None:
    """Return the 50th and 95th percentiles; None for fewer than two values."""
    if len(values) < 2:
        return None
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49] * factor, "p95": cuts[94] * factor}


def _repeat_pages(
    pages: Sequence[ForcedPage], in_flight: int
) -> Iterator[tuple[ForcedPage, bool]]:
    """Yield the pages repeatedly, and False for the first ones, which are truncated."""
    for number, page in enumerate(cycle(pages)):
        is_whole = number >= in_flight
        share = 1.0 if is_whole else (number + 0.5) / in_flight
        yield page.with_name(f"{number}", share), is_whole


def _middle(steps: Sequence[_RunProgress]) -> tuple[int, int]:
    """Return the first and the last step that count."""
    begin, end = steps[0].at, steps[-1].at
    dropped = _DROPPED_SHARE * (end - begin)
    times = [step.at for step in steps]
    first = next(i for i, at in enumerate(times) if at >= begin + dropped)
    last = max(i for i, at in enumerate(times) if at <= end - dropped)
    return (first, last) if first < last else (0, len(steps) - 1)


def _count_drafts(forwards: Sequence[Forward]) -> tuple[int, int]:
    """Return the number of sampled rows and of draft tokens in forward passes."""
    num_sampled_rows = num_drafted = 0
    for forward in forwards:
        work = forward.work
        if isinstance(work, Prefill):
            num_sampled_rows += work.is_last
        else:
            num_sampled_rows += work.num_rows
            num_drafted += work.num_tokens - work.num_rows
    return num_sampled_rows, num_drafted


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _ratio(ideal: float, real: float) -> float | None:
    return ideal / real if real else None
