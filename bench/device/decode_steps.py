"""Times of single decode steps, recorded and eager, compared with the roofline.

The engine's runner computes steps of many shapes over a cache of arbitrary values.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from bench.costs.roofline import Decode
from bench.device.hardware import NEEDS_CUDA, Hardware
from bench.runs.recorder import TimedRecorder
from bench.runs.systems import MeasuredModel
from handler.engine.batching.model_runner import Row
from handler.engine.device.capacity import measure_cache_tokens
from handler.engine.device.checks.self_test import LARGEST_LOGIT_ERROR, check_graphs
from handler.engine.device.encoder import TorchPrompt
from handler.engine.device.graphs import Outputs, Record, Shape, list_shapes
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.fallbacks import SelfTestError

__all__ = [
    "check_recorded_steps",
    "count_kernels",
    "time_launches",
    "time_verification",
]

PAGE_TOKENS = 4600
"""Tokens of each page: the prompt of an A4 page, and half of its answer."""
WIDTHS = (1, 2, 3, 5, 9, 13, 20)
"""Tokens per page that a step verifies."""
_SPARE_POSITIONS = 64
_MIN_STEPS = 5
_MAX_STEPS = 400
_TOKEN = 1000
_CHECKED_POSITIONS = 4096

Replay = Callable[[], None]


class _ReplayRecorder(TimedRecorder):
    """Recorder that keeps functions to recompute and to replay each step."""

    def __init__(self, hardware: Hardware) -> None:
        super().__init__(hardware.device)
        self.computes: list[Callable[[], Outputs]] = []
        self.replays: list[Replay] = []

    def __call__(self, compute: Callable[[], Outputs]) -> tuple[Outputs, Replay]:
        outputs, replay = super().__call__(compute)
        self.computes.append(compute)
        self.replays.append(replay)
        return outputs, replay


@torch.inference_mode()
def time_launches(
    measured_model: MeasuredModel, hardware: Hardware, num_pages: int, seconds: float
) -> dict[str, Any]:
    """Time a step of one token per page, and compare it with the roofline.

    `replay_ms` is the recorded step on the device alone. `step_ms` and `eager_ms` are
    whole steps: numbers to the device, the forward, chosen tokens back on the host.
    """
    num_page_tokens = _choose_page_tokens(measured_model, num_pages, 1)
    step_ms, replay_ms = _time_recorded(
        measured_model, hardware, num_pages, num_page_tokens, 2 * seconds / 3
    )
    hardware.release()
    runner, rows = _make_runner(measured_model, num_pages, num_page_tokens, [], None)
    eager_ms = _time_calls(lambda: runner.decode(rows(1)), seconds / 3)
    work = Decode(num_pages, num_pages, num_pages * num_page_tokens)
    ideal = measured_model.costs.seconds(work, measured_model.rates)
    read = (
        measured_model.costs.layers + measured_model.costs.lm_head
    ) * measured_model.costs.value_bytes
    read += work.num_cached * measured_model.costs.cache_bytes
    return {
        "pages": num_pages,
        "page_tokens": num_page_tokens,
        "step_ms": step_ms,
        "replay_ms": replay_ms,
        "eager_ms": eager_ms,
        "roofline_ms": 1000 * ideal,
        "bytes_read": read,
        "gigabytes_per_second": read / replay_ms / 1e6,
        "fraction_of_roofline": 1000 * ideal / replay_ms,
        "has_graphs": hardware.is_cuda,
    }


@torch.inference_mode()
def time_verification(
    measured_model: MeasuredModel, hardware: Hardware, num_pages: int, seconds: float
) -> dict[str, Any]:
    """Time recorded steps of the engine's runner that verify tokens of each page.

    With `segments`, a page's tokens are queries of one segment, as in the engine. With
    `rows` (setting `draft_rows`), each token is a row of one query over the same
    segment. Values are milliseconds on the device by tokens per page; `segments_step`
    and `rows_step` have the milliseconds of whole steps.
    """
    num_page_tokens = _choose_page_tokens(measured_model, num_pages, max(WIDTHS))
    seconds_per_case = seconds / (2 * len(WIDTHS))
    result: dict[str, Any] = {"pages": num_pages, "page_tokens": num_page_tokens}
    for kind in ("segments", "rows"):
        result[kind], result[f"{kind}_step"] = {}, {}
        for width in WIDTHS:
            step_ms, replay_ms = _time_recorded(
                measured_model,
                hardware,
                num_pages,
                num_page_tokens,
                seconds_per_case,
                width,
                draft_rows=kind == "rows",
            )
            result[kind][str(width)] = replay_ms
            result[f"{kind}_step"][str(width)] = step_ms
            # The call has ended, so the runner and its cache are free.
            hardware.release()
    return result


def _time_recorded(
    measured_model: MeasuredModel,
    hardware: Hardware,
    num_pages: int,
    num_page_tokens: int,
    seconds: float,
    width: int = 1,
    *,
    draft_rows: bool = False,
) -> tuple[float, float]:
    """Return the milliseconds of a recorded step: in total, and on the device."""
    recorder = _ReplayRecorder(hardware)
    runner, rows = _make_runner(
        measured_model,
        num_pages,
        num_page_tokens,
        [Shape(num_pages, width)],
        recorder,
        draft_rows=draft_rows,
    )
    step_ms = _time_calls(lambda: runner.decode(rows(width)), seconds / 2)
    return step_ms, _time_on_device(recorder.replays[0], hardware, seconds / 2)


def check_recorded_steps(
    measured_model: MeasuredModel,
    hardware: Hardware,
    seconds: float,
    record: Record | None = None,
) -> dict[str, Any]:
    """Compare recorded steps with the same steps computed eagerly.

    This is the check of the self-test, with the shapes of eight pages, for drafts as
    queries of a segment and as rows. Tests pass a faulty `record`.
    """
    cases: dict[str, Any] = {}
    for kind in ("segments", "rows"):
        runner = TorchRunner(
            measured_model.model,
            _CHECKED_POSITIONS,
            max_page_tokens=measured_model.max_page_tokens,
            graph_shapes=list_shapes(8, max_drafts=8, max_verified=64),
            record=TimedRecorder(hardware.device, record),
            draft_rows=kind == "rows",
        )
        try:
            error = check_graphs(
                runner.graphs,
                runner.compute_logits,
                num_cache_positions=runner.num_cache_positions,
                vocabulary_size=measured_model.model.module.config.text_config.vocab_size,
            )
        except SelfTestError as failure:
            cases[kind] = {"error": failure.actual, "failure": str(failure)}
        else:
            cases[kind] = {"error": error}
        del runner
        hardware.release()
    is_right = not any("failure" in case for case in cases.values())
    return {
        "is_right": is_right if hardware.is_cuda or record else None,
        "largest_error_allowed": LARGEST_LOGIT_ERROR,
        "cases": cases,
        **({} if hardware.is_cuda else {"skipped": f"a graph {NEEDS_CUDA}"}),
    }


def count_kernels(
    measured_model: MeasuredModel, hardware: Hardware, seconds: float
) -> dict[str, Any]:
    """Count the kernels of an eager step of eight pages with the profiler."""
    if not hardware.is_cuda:
        return {"skipped": NEEDS_CUDA}
    recorder = _ReplayRecorder(hardware)
    num_page_tokens = _choose_page_tokens(measured_model, 8, 1)
    runner, rows = _make_runner(
        measured_model, 8, num_page_tokens, [Shape(8, 1)], recorder
    )
    runner.decode(rows(1))
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with torch.inference_mode(), profile(activities=activities) as profiler:
        recorder.computes[0]()
        hardware.synchronize()
    names = [
        event.name
        for event in profiler.events() or ()
        if event.device_type == DeviceType.CUDA
    ]
    is_copy = [name.startswith(("Memcpy", "Memset")) for name in names]
    return {"pages": 8, "kernels": len(names) - sum(is_copy), "copies": sum(is_copy)}


def _choose_page_tokens(
    measured_model: MeasuredModel, num_pages: int, width: int
) -> int:
    """Return the number of tokens per page for which the device has room."""
    longest = (
        min(measured_model.model.max_tokens, measured_model.max_page_tokens) - width - 1
    )
    room = (
        measure_cache_tokens(measured_model.model) // num_pages
        - width
        - _SPARE_POSITIONS
    )
    num_page_tokens = min(PAGE_TOKENS, longest, room)
    if num_page_tokens < 1:
        raise RuntimeError(f"the device has no room for {num_pages} pages")
    return num_page_tokens


def _make_runner(
    measured_model: MeasuredModel,
    num_pages: int,
    num_page_tokens: int,
    of_shapes: list[Shape],
    record: _ReplayRecorder | None,
    *,
    draft_rows: bool = False,
) -> tuple[TorchRunner, Callable[[int], list[Row[TorchPrompt]]]]:
    """Return a runner, and a function that makes rows of its pages."""
    width = max(WIDTHS) + _SPARE_POSITIONS
    runner = TorchRunner(
        measured_model.model,
        num_pages * (num_page_tokens + width),
        max_page_tokens=measured_model.max_page_tokens,
        graph_shapes=of_shapes,
        record=record,
        draft_rows=draft_rows,
    )
    prompt = runner.tokenise(measured_model.pages[0].request)

    def rows(num_tokens: int) -> list[Row[TorchPrompt]]:
        return [
            Row(
                prompt,
                [_TOKEN] * num_tokens,
                num_page_tokens,
                index * (num_page_tokens + width),
            )
            for index in range(num_pages)
        ]

    return runner, rows


def _time_calls(compute: Callable[[], Any], seconds: float) -> float:
    """Return the median milliseconds of calls that synchronise themselves."""
    compute()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _MIN_STEPS or (
        time.perf_counter() < end and len(times) < _MAX_STEPS
    ):
        begin = time.perf_counter()
        compute()
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)


def _time_on_device(
    compute: Callable[[], None], hardware: Hardware, seconds: float
) -> float:
    """Return the mean milliseconds of calls without synchronisation in between."""
    compute()
    hardware.synchronize()
    begin = time.perf_counter()
    compute()
    hardware.synchronize()
    once = max(1e-6, time.perf_counter() - begin)
    count = int(min(_MAX_STEPS, max(_MIN_STEPS, seconds / once)))
    begin = time.perf_counter()
    for _ in range(count):
        compute()
    hardware.synchronize()
    return 1000 * (time.perf_counter() - begin) / count
