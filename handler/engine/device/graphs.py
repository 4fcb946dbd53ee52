"""Recording and replay of decode steps of fixed shapes as CUDA graphs.

A GPU computes a step of few tokens faster than the host launches its hundreds of
kernels. A CUDA graph launches them at once, but only for the shape and the memory it
was recorded with. So a step is padded to the next larger shape, and the numbers that
differ from step to step are copied into one small matrix before the replay.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

__all__ = [
    "NUM_FACTS",
    "Compute",
    "DecodeGraphs",
    "FixedRow",
    "Record",
    "Shape",
    "list_shapes",
    "make_cuda_recorder",
]

NUM_FACTS = 3
"""Columns of the matrix after the tokens: start, segment start, rope delta."""
_NUM_WARM_UPS = 2


@dataclass(frozen=True, slots=True, order=True)
class Shape:
    """Shape of a step: `num_rows` pages with `width` tokens each."""

    num_rows: int
    width: int


@dataclass(frozen=True, slots=True)
class FixedRow:
    """Row of a recorded step, which belongs to one page."""

    tokens: Sequence[int]
    start: int
    """Number of the page's tokens in the cache."""
    segment_start: int
    """First cache position of the page's KV segment."""
    rope_delta: int
    """A token's RoPE position is its index plus this."""


class Compute(Protocol):
    """Function that computes a step in memory with fixed addresses."""

    def __call__(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map [rows, width + NUM_FACTS] int64 to the [rows, width] most likely tokens
        and the [rows, vocabulary] logits after each row's first token."""


Outputs = tuple[torch.Tensor, torch.Tensor]
Record = Callable[[Callable[[], Outputs]], tuple[Outputs, Callable[[], None]]]
"""Function that computes once, and returns the output tensors and a function that
recomputes them."""


def list_shapes(max_rows: int, *, max_drafts: int, max_verified: int) -> list[Shape]:
    """List shapes to record: powers of two rows, each with no, half and all drafts.

    A shape has no more drafts than a step of its rows can have: the tokens of all rows
    together are at most `max_verified`.
    """
    shapes = []
    min_rows, num_rows = 1, 1
    while True:
        drafts = min(max_drafts, max(0, max_verified // min_rows - 1))
        widths = {1, 1 + (drafts + 1) // 2, 1 + drafts}
        shapes += [Shape(num_rows, width) for width in sorted(widths)]
        if num_rows >= max_rows:
            return shapes
        # A step of the next shape has more rows than this one.
        min_rows, num_rows = num_rows + 1, min(2 * num_rows, max_rows)


def make_cuda_recorder(
    device: torch.device | None = None, cuda: Any = torch.cuda
) -> Record:
    """Return a recorder of CUDA graphs on `device`; None: the current device.

    All graphs share one memory pool: one is replayed at a time, and only its outputs
    are read. When all of them are gone, so is their pool, and the next graph gets
    another. Warm-up and capture of all graphs run on one side stream, because cuBLAS
    keeps a workspace for each stream. Use the same recorder to record again.
    A capture that fails raises torch's error and leaves the current stream and torch's
    allocator as they were before.

    `cuda` has the functions of torch.cuda.
    """
    streams: list[Any] = []
    pools: list[Any] = []
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    def record(compute: Callable[[], Outputs]) -> tuple[Outputs, Callable[[], None]]:
        with cuda.device(device):
            if not streams:
                streams.append(cuda.Stream(device))
            if not alive:
                pools[:] = [cuda.graph_pool_handle()]
            [stream], [pool] = streams, pools
            caller = cuda.current_stream(device)
            stream.wait_stream(caller)
            # torch.cuda.graph leaves its stream current if it cannot end a capture.
            # This context restores the caller's stream in every case.
            with cuda.stream(stream):
                # Lazy initialisation must happen before the capture.
                for _ in range(_NUM_WARM_UPS):
                    compute()
                graph = cuda.CUDAGraph()
                try:
                    with cuda.graph(graph, pool=pool, stream=stream):
                        outputs = compute()
                except BaseException:
                    _release_failed_capture(graph, pool, cuda)
                    raise
            caller.wait_stream(stream)
            alive.add(graph)
        return outputs, graph.replay

    return record


def _release_failed_capture(graph: Any, pool: Any, cuda: Any) -> None:
    """Reset torch's allocator after a capture that could not be ended.

    If the driver has invalidated the capture, `CUDAGraph.capture_end` raises before it
    resets the allocator. The allocator would then defer each release of memory, and
    keep the memory of the failed capture.
    """
    try:
        graph.pool()
    except RuntimeError:  # The capture did not end.
        index = cuda.current_device()  # The caller has made `device` current.
        with contextlib.suppress(RuntimeError):
            cuda.memory._cuda_endAllocateToPool(index, pool)
            cuda.memory._cuda_releasePool(index, pool)
        graph.reset()


@dataclass(frozen=True, slots=True)
class _Recorded:
    numbers: torch.Tensor
    outputs: Outputs
    replay: Callable[[], None]


class DecodeGraphs:
    """Recorded decode steps, one for each shape.

    Rows that pad a step to its shape write to the KV segment that starts at
    `idle_segment`. It belongs to no page, and is as long as the widest step.
    """

    def __init__(
        self,
        compute: Compute,
        shapes: Iterable[Shape],
        *,
        device: torch.device,
        idle_segment: int,
        record: Record,
    ) -> None:
        self._idle = FixedRow((0,), 0, idle_segment, 0)
        self._recorded: dict[Shape, _Recorded] = {}
        self._device = device
        # The largest first: the others fit into the memory that it reserves.
        for shape in sorted(shapes, reverse=True):
            numbers = self._pack_numbers(shape, []).to(device)
            outputs, replay = record(functools.partial(compute, numbers))
            self._recorded[shape] = _Recorded(numbers, outputs, replay)

    @property
    def shapes(self) -> list[Shape]:
        """The recorded shapes, in ascending order."""
        return sorted(self._recorded)

    def prepare_numbers(self, rows: Sequence[FixedRow], shape: Shape) -> torch.Tensor:
        """Return the input of a recorded step for these rows, on the device."""
        return self._pack_numbers(shape, rows).to(self._device)

    def find_shape(self, rows: Sequence[FixedRow]) -> Shape | None:
        """Return the smallest shape that the rows fit into, or None."""
        if not self._recorded:
            return None
        width = max(len(row.tokens) for row in rows)
        fitting = (
            shape
            for shape in self._recorded
            if shape.num_rows >= len(rows) and shape.width >= width
        )
        return min(
            fitting, key=lambda shape: shape.num_rows * shape.width, default=None
        )

    def run(self, rows: Sequence[FixedRow], shape: Shape) -> Outputs:
        """Replay a step; return the outputs of `Compute` for these rows.

        The outputs are on the device, and the next step overwrites them.
        """
        recorded = self._recorded[shape]
        recorded.numbers.copy_(self._pack_numbers(shape, rows), non_blocking=True)
        recorded.replay()
        tokens, logits = recorded.outputs
        return tokens[: len(rows)], logits[: len(rows)]

    def _pack_numbers(self, shape: Shape, rows: Sequence[FixedRow]) -> torch.Tensor:
        """Return the [rows, width + NUM_FACTS] numbers of a step, padded to its shape.

        They are on the host, in pinned memory if the device is a GPU.
        """
        filled = [*rows, *[self._idle] * (shape.num_rows - len(rows))]
        numbers = [
            [
                *row.tokens,
                # Padding. Its results are not used, and what it writes to the
                # cache is overwritten.
                *[row.tokens[-1]] * (shape.width - len(row.tokens)),
                row.start,
                row.segment_start,
                row.rope_delta,
            ]
            for row in filled
        ]
        return torch.tensor(numbers, pin_memory=self._device.type == "cuda")
