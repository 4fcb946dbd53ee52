"""Recorder of decode steps that measures the recording time."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from handler.engine.device.graphs import Outputs, Record, make_cuda_recorder

__all__ = ["TimedRecorder", "record_replay"]


class TimedRecorder:
    """Recorder of steps as in the engine, with CUDA graphs if available.

    `record` replaces the usual recorder.
    """

    def __init__(self, device: torch.device, record: Record | None = None) -> None:
        usual = make_cuda_recorder(device) if device.type == "cuda" else record_replay
        self._record = record or usual
        self.times: list[tuple[str, float]] = []
        """Shape "rows x tokens" of each step, and the seconds to record it."""

    @property
    def num_recorded(self) -> int:
        return len(self.times)

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.times)

    def __call__(
        self, compute: Callable[[], Outputs]
    ) -> tuple[Outputs, Callable[[], None]]:
        begin = time.perf_counter()
        outputs, replay = self._record(compute)
        num_rows, width = outputs[0].shape
        self.times.append((f"{num_rows} x {width}", time.perf_counter() - begin))
        return outputs, replay


def record_replay(
    compute: Callable[[], Outputs],
) -> tuple[Outputs, Callable[[], None]]:
    """Compute a step, and return a replay that computes it again without a graph."""
    outputs = compute()

    def replay() -> None:
        for output, new in zip(outputs, compute(), strict=True):
            output.copy_(new)

    return outputs, replay
