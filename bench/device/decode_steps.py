"""Decode steps by themselves: recorded and eager, of many shapes, beside the roofline.

The engine's runner computes them over a cache whose values do not matter. Only the
check of recorded steps reads real pages first, as it compares values.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from bench.device.hardware import NEEDS_CUDA, Hardware
from bench.roofline import Decode
from bench.systems import Stage, recomputed
from handler.engine.capacity import cache_places
from handler.engine.encoder import TorchPrompt
from handler.engine.graphs import Outputs, Record, Shape, cuda_recorder
from handler.engine.model_runner import Chunk, Row
from handler.engine.torch_runner import TorchRunner

__all__ = ["check_recorded", "count_kernels", "time_launches", "time_verification"]

PAGE_TOKENS = 4600
"""Length of every page: an A4 page's prompt, and half of its answer."""
WIDTHS = (1, 2, 3, 5, 9, 13, 20)
"""Tokens of a page that a step verifies."""
_SPARE_PLACES = 64
_MIN_STEPS = 5
_MAX_STEPS = 400
_TOKEN = 1000
_CHUNK_TOKENS = 1024
LARGEST_LOGIT_ERROR = 0.05
"""As a share of the largest logit. Both steps run the same kernels, so it should be 0;
a frozen address or value gives errors near 1."""

Replay = Callable[[], None]


class _Recorder:
    """Records steps as the engine does, and keeps what recomputes them eagerly."""

    def __init__(self, hardware: Hardware, record: Record | None = None) -> None:
        usual = cuda_recorder() if hardware.is_cuda else recomputed
        self._record = record or usual
        self.computes: list[Callable[[], Outputs]] = []
        self.outputs: list[Outputs] = []
        self.replays: list[Replay] = []

    def __call__(self, compute: Callable[[], Outputs]) -> tuple[Outputs, Replay]:
        outputs, replay = self._record(compute)
        self.computes.append(compute)
        self.outputs.append(outputs)
        self.replays.append(replay)
        return outputs, replay


@torch.inference_mode()
def time_launches(
    stage: Stage, hardware: Hardware, num_pages: int, seconds: float
) -> dict[str, Any]:
    """Time a step of one token a page: recorded, eager, and as the roofline has it.

    `replay_ms` is the recorded step on the device alone. `step_ms` and `eager_ms` are
    whole steps: numbers to the device, the forward, chosen tokens back on the host.
    """
    used = _page_tokens(stage, num_pages, 1)
    step_ms, replay_ms = _time_recorded(
        stage, hardware, num_pages, used, 2 * seconds / 3
    )
    hardware.release()
    runner, rows = _runner(stage, num_pages, used, [], None)
    eager_ms = _milliseconds(lambda: runner.decode(rows(1)), seconds / 3)
    work = Decode(num_pages, num_pages, num_pages * used)
    ideal = stage.costs.seconds(work, stage.rates)
    read = (stage.costs.layers + stage.costs.lm_head) * stage.costs.value_bytes
    read += work.num_cached * stage.costs.cache_bytes
    return {
        "pages": num_pages,
        "page_tokens": used,
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
    stage: Stage, hardware: Hardware, num_pages: int, seconds: float
) -> dict[str, Any]:
    """Time recorded steps that verify several tokens of each page.

    `segments` feeds a page's tokens as queries of one segment, as the engine does;
    `rows` feeds each token as a page of one query over the same segment.
    """
    used = _page_tokens(stage, num_pages, max(WIDTHS))
    each = seconds / (2 * len(WIDTHS))
    found: dict[str, Any] = {"pages": num_pages, "page_tokens": used}
    for kind in ("segments", "rows"):
        times = found[kind] = {}
        for width in WIDTHS:
            times[str(width)] = _time_width(
                stage, hardware, num_pages, used, width, kind == "rows", each
            )
            # The runner and its cache went with the call.
            hardware.release()
    return found


def _time_recorded(
    stage: Stage, hardware: Hardware, num_pages: int, used: int, seconds: float
) -> tuple[float, float]:
    """Return milliseconds of a whole recorded step, and of it on the device alone."""
    recorder = _Recorder(hardware)
    runner, rows = _runner(stage, num_pages, used, [Shape(num_pages, 1)], recorder)
    step_ms = _milliseconds(lambda: runner.decode(rows(1)), seconds / 2)
    return step_ms, _on_device(recorder.replays[0], hardware, seconds / 2)


def _time_width(
    stage: Stage,
    hardware: Hardware,
    num_pages: int,
    used: int,
    width: int,
    is_rows: bool,
    seconds: float,
) -> float:
    """Return milliseconds on the device of a step of `width` tokens a page."""
    shape = Shape(num_pages * width, 1) if is_rows else Shape(num_pages, width)
    recorder = _Recorder(hardware)
    runner, rows = _runner(stage, num_pages, used, [shape], recorder)
    runner.decode(_one_token_each(rows(width)) if is_rows else rows(width))
    return _on_device(recorder.replays[0], hardware, seconds)


@torch.inference_mode()
def check_recorded(
    stage: Stage, hardware: Hardware, seconds: float, record: Record | None = None
) -> dict[str, Any]:
    """Compare recorded steps with the same steps computed eagerly, after real pages.

    Each step is replayed after its numbers and the cache have changed, so an address
    or a value that was frozen while recording shows. Tests pass a faulty `record`.
    """
    pages = stage.pages[:3]
    recorder = _Recorder(hardware, record)
    shapes = [Shape(len(pages), width) for width in (9, 5, 1)]
    most = max(stage.num_prompt_tokens(page) for page in pages) + 256
    runner = TorchRunner(
        stage.model,
        len(pages) * most,
        max_page_tokens=stage.max_page_tokens,
        graph_shapes=shapes,
        record=recorder,
    )
    prompts = [runner.prompt_from(page.sequence) for page in pages]
    for index, prompt in enumerate(prompts):
        for start in range(0, prompt.num_tokens, _CHUNK_TOKENS):
            count = min(_CHUNK_TOKENS, prompt.num_tokens - start)
            runner.prefill(Chunk(prompt, [], start, count, index * most))
    cases: dict[str, Any] = {}
    for outputs, compute in zip(recorder.outputs, recorder.computes, strict=True):
        width = outputs[0].shape[1]
        errors, num_equal, num_tokens = [], 0, 0
        for step in range(4):
            rows = [
                Row(
                    prompt,
                    page.tokens[step : step + 1] * width,
                    prompt.num_tokens + step,
                    index * most,
                )
                for index, (prompt, page) in enumerate(zip(prompts, pages, strict=True))
            ]
            runner.decode(rows)
            tokens, logits = (output.clone() for output in outputs)
            eager_tokens, eager_logits = (output.float() for output in compute())
            error = (logits.float() - eager_logits).abs().max()
            errors.append(float(error / eager_logits.abs().max()))
            num_equal += int((tokens == eager_tokens).sum())
            num_tokens += tokens.numel()
        cases[f"{width} tokens a page"] = {
            "largest_logit_error": max(errors),
            "tokens_equal": num_equal / num_tokens,
        }
    # A comparison with NaN is false, so NaN is not right.
    is_right = all(
        case["largest_logit_error"] <= LARGEST_LOGIT_ERROR for case in cases.values()
    )
    return {
        "is_right": is_right if hardware.is_cuda or record else None,
        "largest_error_allowed": LARGEST_LOGIT_ERROR,
        "cases": cases,
        **({} if hardware.is_cuda else {"skipped": f"a graph {NEEDS_CUDA}"}),
    }


def count_kernels(stage: Stage, hardware: Hardware, seconds: float) -> dict[str, Any]:
    """Count what the device runs in one eager step of eight pages, by the profiler."""
    if not hardware.is_cuda:
        return {"skipped": NEEDS_CUDA}
    recorder = _Recorder(hardware)
    used = _page_tokens(stage, 8, 1)
    runner, rows = _runner(stage, 8, used, [Shape(8, 1)], recorder)
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


def _page_tokens(stage: Stage, num_pages: int, width: int) -> int:
    """Return the tokens of each page for which the device has room."""
    longest = min(stage.model.max_tokens, stage.max_page_tokens) - width - 1
    room = cache_places(stage.model) // num_pages - width - _SPARE_PLACES
    used = min(PAGE_TOKENS, longest, room)
    if used < 1:
        raise RuntimeError(f"the device has no room for {num_pages} pages")
    return used


def _runner(
    stage: Stage,
    num_pages: int,
    used: int,
    shapes: list[Shape],
    record: _Recorder | None,
) -> tuple[TorchRunner, Callable[[int], list[Row[TorchPrompt]]]]:
    """Return a runner, and what makes rows of so many tokens for its pages."""
    width = max(WIDTHS) + _SPARE_PLACES
    runner = TorchRunner(
        stage.model,
        num_pages * (used + width),
        max_page_tokens=stage.max_page_tokens,
        graph_shapes=shapes,
        record=record,
    )
    prompt = runner.prompt_from(stage.pages[0].sequence)

    def rows(num_tokens: int) -> list[Row[TorchPrompt]]:
        return [
            Row(prompt, [_TOKEN] * num_tokens, used, index * (used + width))
            for index in range(num_pages)
        ]

    return runner, rows


def _one_token_each(rows: list[Row[TorchPrompt]]) -> list[Row[TorchPrompt]]:
    return [
        Row(row.prompt, [token], row.start + offset, row.segment_start)
        for row in rows
        for offset, token in enumerate(row.tokens)
    ]


def _milliseconds(compute: Callable[[], Any], seconds: float) -> float:
    """Return the median of calls that wait for the device by themselves."""
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


def _on_device(
    compute: Callable[[], None], hardware: Hardware, seconds: float
) -> float:
    """Return the mean time of calls that nobody waits for in between."""
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
