"""Recording decode steps as the engine does, and the time that it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from handler.engine.device.graphs import Outputs, Record, make_cuda_recorder

__all__ = ["Recorder", "recomputed"]


class Recorder:
    """Records steps as the engine does, by CUDA graphs where there are any.

    `record` takes the place of the usual recorder.
    """

    def __init__(self, device: torch.device, record: Record | None = None) -> None:
        usual = make_cuda_recorder(device) if device.type == "cuda" else recomputed
        self._record = record or usual
        self.times: list[tuple[str, float]] = []
        """For each step its shape, "rows x tokens", and the seconds it took."""

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


def recomputed(
    compute: Callable[[], Outputs],
) -> tuple[Outputs, Callable[[], None]]:
    """Record nothing: compute a step again where a graph would be replayed."""
    outputs = compute()

    def replay() -> None:
        for output, new in zip(outputs, compute(), strict=True):
            output.copy_(new)

    return outputs, replay
