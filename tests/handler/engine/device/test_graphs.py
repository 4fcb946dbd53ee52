"""Recorded steps of fixed shapes, with a sum as the model and without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from handler.engine.device.graphs import (
    NUM_FACTS,
    DecodeGraphs,
    FixedRow,
    Shape,
    list_shapes,
    make_cuda_recorder,
)
from tests.handler.engine.device.cuda import FakeCuda

CPU = torch.device("cpu")
IDLE_SEGMENT = 900


class Recorder:
    """Recorder that recomputes on replay, and stores the input of each call."""

    def __init__(self) -> None:
        self.recorded_shapes: list[tuple[int, ...]] = []
        self.inputs: list[list[list[int]]] = []

    def compute(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.inputs.append(numbers.tolist())
        tokens = numbers[:, :-NUM_FACTS] + 1
        return tokens, torch.nn.functional.one_hot(tokens[:, 0], 50)

    def record(self, compute: Callable[[], Any]) -> Any:
        outputs = compute()
        self.recorded_shapes.append(tuple(outputs[0].shape))

        def replay() -> None:
            for output, new in zip(outputs, compute(), strict=True):
                output.copy_(new)

        return outputs, replay


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def create_graphs(recorder: Recorder, *shapes: Shape) -> DecodeGraphs:
    return DecodeGraphs(
        recorder.compute,
        shapes,
        device=CPU,
        idle_segment=IDLE_SEGMENT,
        record=recorder.record,
    )


def make_row(*tokens: int) -> FixedRow:
    return FixedRow(tokens, start=10, segment_start=100, rope_delta=-3)


def list_all_shapes(max_rows: int, max_drafts: int) -> list[Shape]:
    return list_shapes(max_rows, max_drafts=max_drafts, max_verified=1000)


def test_shapes_have_powers_of_two_rows_and_three_widths():
    assert list_all_shapes(6, 8) == [
        Shape(count, width) for count in (1, 2, 4, 6) for width in (1, 5, 9)
    ]


def test_shapes_without_drafts_have_one_token_a_row():
    assert {shape.width for shape in list_all_shapes(4, 0)} == {1}


def test_only_shapes_that_steps_can_have_are_recorded():
    shapes = list_shapes(64, max_drafts=8, max_verified=64)

    # 33 pages have room for one token each, 17 for two draft tokens.
    assert max(shape.width for shape in shapes if shape.num_rows == 64) == 1
    assert max(shape.width for shape in shapes if shape.num_rows == 32) == 3
    assert max(shape.width for shape in shapes if shape.num_rows == 4) == 9


@pytest.mark.parametrize("num_pages", range(1, 65))
def test_every_possible_step_fits_a_shape(num_pages):
    shapes = list_shapes(64, max_drafts=8, max_verified=64)
    max_drafts = min(8, max(0, 64 // num_pages - 1))

    assert any(s.num_rows >= num_pages and s.width >= 1 + max_drafts for s in shapes)


def test_shapes_are_recorded_from_the_largest_on(recorder):
    create_graphs(recorder, Shape(1, 1), Shape(4, 3), Shape(2, 3))

    assert recorder.recorded_shapes == [(4, 3), (2, 3), (1, 1)]


def test_smallest_fitting_shape_is_found(recorder):
    graphs = create_graphs(recorder, *list_all_shapes(4, 4))

    assert graphs.find_shape([make_row(1), make_row(1)]) == Shape(2, 1)
    assert graphs.find_shape([make_row(1), make_row(1, 2)]) == Shape(2, 3)
    assert graphs.find_shape([make_row(1)] * 3) == Shape(4, 1)


def test_no_shape_is_found_for_too_many_or_too_wide_rows(recorder):
    graphs = create_graphs(recorder, Shape(2, 2))

    assert graphs.find_shape([make_row(1)] * 3) is None
    assert graphs.find_shape([make_row(1, 2, 3)]) is None
    assert create_graphs(recorder).find_shape([make_row(1)]) is None


def test_row_is_padded_and_followed_by_its_numbers(recorder):
    graphs = create_graphs(recorder, Shape(1, 3))

    graphs.run([make_row(7, 8)], Shape(1, 3))

    assert recorder.inputs[-1] == [[7, 8, 8, 10, 100, -3]]


def test_padding_rows_write_to_the_idle_segment(recorder):
    graphs = create_graphs(recorder, Shape(2, 1))

    graphs.run([make_row(7)], Shape(2, 1))

    _, idle = recorder.inputs[-1]
    assert idle == [0, 0, IDLE_SEGMENT, 0]


def test_tokens_are_returned_by_row(recorder):
    graphs = create_graphs(recorder, Shape(4, 2))

    tokens, logits = graphs.run([make_row(7, 8), make_row(1, 2)], Shape(4, 2))

    assert tokens.tolist() == [[8, 9], [2, 3]]
    assert logits.argmax(dim=-1).tolist() == [8, 2]


SECOND = torch.device("cuda:1")


def record_graphs(cuda: FakeCuda, device: torch.device | None, number: int = 3) -> None:
    record = make_cuda_recorder(device, cuda)
    kept = [record(lambda: (torch.zeros(1), torch.zeros(1))) for _ in range(number)]
    assert len(kept) == number


def test_graphs_are_captured_on_the_device_of_the_model():
    cuda = FakeCuda()

    record_graphs(cuda, SECOND)

    assert {device for _, device in cuda.calls} == {1}
    assert cuda.current == 0


def test_all_graphs_share_one_stream_and_one_pool():
    cuda = FakeCuda()

    record_graphs(cuda, SECOND)

    assert len(cuda.streams) == len(cuda.pools) == 1
    assert cuda.captured_on == cuda.streams * 3
    assert cuda.used_pools == cuda.pools * 3


def test_graphs_recorded_again_share_the_stream_but_no_pool():
    cuda = FakeCuda()
    record = make_cuda_recorder(SECOND, cuda)

    for _ in range(2):
        kept = [record(lambda: (torch.zeros(1), torch.zeros(1))) for _ in range(3)]
        del kept

    assert len(cuda.streams) == 1
    first, second = cuda.pools
    assert cuda.used_pools == [first] * 3 + [second] * 3


def test_warm_up_and_capture_run_on_the_same_stream():
    cuda = FakeCuda()
    streams = []

    def compute() -> tuple[torch.Tensor, torch.Tensor]:
        streams.append(cuda.current_stream(SECOND))
        return torch.zeros(1), torch.zeros(1)

    make_cuda_recorder(SECOND, cuda)(compute)

    assert streams == cuda.streams * 3


@pytest.mark.parametrize("fail_at_end", [False, True])
def test_failed_capture_restores_stream_and_allocator(fail_at_end):
    cuda = FakeCuda(fail_at_end=fail_at_end)
    before = cuda.current_stream(SECOND)

    def compute() -> tuple[torch.Tensor, torch.Tensor]:
        if cuda.is_capturing:
            raise RuntimeError("operation not permitted when stream is capturing")
        return torch.zeros(1), torch.zeros(1)

    with pytest.raises(RuntimeError):
        make_cuda_recorder(SECOND, cuda)(compute)

    assert cuda.current_stream(SECOND) is before
    assert cuda.num_open_pools == 0
    assert not cuda.is_capturing


def test_without_shapes_cuda_is_not_used():
    cuda = FakeCuda()

    graphs = DecodeGraphs(
        lambda numbers: None,  # type: ignore[arg-type]
        [],
        device=SECOND,
        idle_segment=0,
        record=make_cuda_recorder(SECOND, cuda),
    )

    assert cuda.calls == []
    assert graphs.find_shape([make_row(1)]) is None
