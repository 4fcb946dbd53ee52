"""Fake of torch.cuda that records calls in order, and their device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch

__all__ = ["FakeCuda", "FakeGraph", "FakeStream"]


class FakeStream:
    def __init__(self, cuda: FakeCuda, device: object) -> None:
        self.device = cuda.current if device is None else _index_of(device)

    def wait_stream(self, other: FakeStream) -> None:
        assert other.device == self.device


class FakeGraph:
    """Fake graph. With `fail_at_end`, the end of its capture raises an error."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self.has_ended = False
        self.compute: Callable[[], Any] = lambda: None

    def pool(self) -> object:
        if not self.has_ended:
            raise RuntimeError("pool() without a preceding successful capture")
        return self._cuda.pools[0]

    def replay(self) -> None:
        self._cuda.calls.append(("replay", self._cuda.current))

    def reset(self) -> None:
        self._cuda.calls.append(("reset", self._cuda.current))


class FakeCuda:
    """Functions of torch.cuda that the engine uses; `current` is the device."""

    def __init__(self, num_devices: int = 2, *, fail_at_end: bool = False) -> None:
        self.current = 0
        self.calls: list[tuple[object, ...]] = []
        self.pools: list[object] = []
        self.used_pools: list[object] = []
        self.streams: list[FakeStream] = []
        self.captured_on: list[FakeStream] = []
        self.is_capturing = False
        self.num_open_pools = 0
        self._num_devices = num_devices
        self._fail_at_end = fail_at_end
        self._default = [FakeStream(self, index) for index in range(num_devices)]
        self._current_streams = dict(enumerate(self._default))
        self.memory = SimpleNamespace(
            _cuda_endAllocateToPool=self._end_allocate,
            _cuda_releasePool=lambda index, pool: None,
        )

    # Devices.

    def device_count(self) -> int:
        return self._num_devices

    def set_device(self, index: int) -> None:
        self.calls.append(("set_device", index))
        self.current = index

    def current_device(self) -> int:
        return self.current

    def get_device_properties(self, index: int) -> SimpleNamespace:
        self.calls.append(("get_device_properties", self.current))
        return SimpleNamespace(
            name=f"GPU {index}", major=9, minor=0, total_memory=80 * 1024**3
        )

    def mem_get_info(self, device: object = None) -> tuple[int, int]:
        self.calls.append(("mem_get_info", self.current))
        return 79 * 1024**3, 80 * 1024**3

    @contextmanager
    def device(self, device: object) -> Iterator[None]:
        before = self.current
        self.current = before if device is None else _index_of(device)
        try:
            yield
        finally:
            self.current = before

    # Streams and graphs.

    def Stream(self, device: object = None) -> FakeStream:  # noqa: N802
        stream = FakeStream(self, device)
        self.streams.append(stream)
        self.calls.append(("Stream", stream.device))
        return stream

    def current_stream(self, device: object = None) -> FakeStream:
        index = self.current if device is None else _index_of(device)
        return self._current_streams[index]

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before = self._current_streams[stream.device]
        self._current_streams[stream.device] = stream
        try:
            yield
        finally:
            self._current_streams[stream.device] = before

    def graph_pool_handle(self) -> object:
        self.pools.append(object())
        return self.pools[-1]

    def CUDAGraph(self) -> FakeGraph:  # noqa: N802
        return FakeGraph(self)

    @contextmanager
    def graph(
        self, graph: FakeGraph, pool: object = None, stream: FakeStream | None = None
    ) -> Iterator[None]:
        assert stream is not None
        self.calls.append(("capture", self.current))
        self.captured_on.append(stream)
        self.used_pools.append(pool)
        self.is_capturing = True
        self.num_open_pools += 1
        self._current_streams[stream.device] = stream
        try:
            yield
        finally:
            self.is_capturing = False
            if self._fail_at_end:
                # Like torch: neither the stream nor the pool is restored.
                raise RuntimeError("operation failed due to a previous error")
            graph.has_ended = True
            self.num_open_pools -= 1

    def _end_allocate(self, index: int, pool: object) -> None:
        assert pool in self.pools
        self.num_open_pools -= 1


def _index_of(device: object) -> int:
    return device if isinstance(device, int) else torch.device(str(device)).index
