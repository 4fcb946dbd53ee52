"""Absence of host waits in a step, except for the chosen tokens.

Models are on the meta device, whose tensors have shapes and no values. Code that reads
a value, or a shape that depends on values, raises an error there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.teacher_forcing.geometry import CHANDRA, TINY, Geometry, empty_module
from handler.engine.batching.model_runner import Chunk, Row
from handler.engine.device.encoder import Encoded, TorchPrompt
from handler.engine.device.graphs import NUM_FACTS
from handler.engine.device.model import Model
from handler.engine.device.sampling import choose_tokens
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.request import GREEDY, Sampling

META = torch.device("meta")
NUM_PROMPT = 20


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


class Tokenizer:
    def encode(self, text: str, **options: Any) -> list[int]:
        return [1]


def create_runner(geometry: Geometry = TINY, **options: Any) -> TorchRunner:
    options = {"use_operator": True} | options
    return TorchRunner(
        Model(empty_module(geometry).eval(), Tokenizer(), ()), 2000, **options
    )


def create_prompt(visual_at: list[int], hidden: int = 32) -> TorchPrompt:
    """Return an encoded prompt of NUM_PROMPT tokens, visual at `visual_at`."""

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(*shape, dtype=torch.bfloat16, device=META)

    return TorchPrompt(
        request=None,  # type: ignore[arg-type]
        input_ids=torch.empty(NUM_PROMPT, dtype=torch.int64, device=META),
        positions=torch.empty(3, NUM_PROMPT, dtype=torch.int64, device=META),
        is_image=torch.zeros(NUM_PROMPT, dtype=torch.bool),
        visual_at=visual_at,
        last_token=1,
        grid=(1, 2, 2),
        rope_delta=-2,
        encoded=Encoded(
            embeddings=empty(NUM_PROMPT, hidden),
            deepstack=[empty(len(visual_at), hidden)],
            visual_at=visual_at,
        ),
    )


class Kernels(TorchDispatchMode):
    """Counter of operators, except those that return a view."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        is_view = func.is_view and func.overloadpacket is not torch.ops.aten.to
        if not is_view and func.namespace == "aten":
            self.counts[str(func.overloadpacket)] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("use_operator", [True, False])
@pytest.mark.parametrize(
    "visual_at", [list(range(4, 12)), [2, 5, 6, 15]], ids=["contiguous", "scattered"]
)
def test_chunk_with_visual_tokens_does_not_wait(visual_at, use_operator):
    runner = create_runner(use_operator=use_operator)

    for start, count in ((0, 9), (9, NUM_PROMPT - 9)):
        prompt = create_prompt(visual_at)
        logits = runner.compute_chunk(Chunk(prompt, [], start, count, 50))

    assert logits is not None
    assert len(logits) == 1


def test_chunk_of_prompt_and_output_does_not_wait():
    chunk = Chunk(create_prompt([3, 4]), [7, 8, 9], 2, NUM_PROMPT + 1, 50)

    logits = create_runner().compute_chunk(chunk)

    assert logits is not None
    assert len(logits) == 1


@pytest.mark.parametrize("use_operator", [True, False])
@pytest.mark.parametrize("draft_rows", [True, False])
def test_rows_of_several_pages_do_not_wait(use_operator, draft_rows):
    runner = create_runner(use_operator=use_operator, draft_rows=draft_rows)
    rows = [Row(create_prompt([3]), [5] * n, 30, 100 * n) for n in (1, 3, 2)]

    assert len(runner.compute_rows(rows)) == 6


def test_sampling_does_not_wait():
    logits = torch.empty(2, 50, device=META)

    assert choose_tokens(logits, [GREEDY, Sampling(0.7, 0.9)]).shape == (2,)


@pytest.mark.parametrize("draft_rows", [True, False])
def test_recorded_step_of_chandra_has_at_most_600_kernels(draft_rows):
    runner = create_runner(CHANDRA, draft_rows=draft_rows)
    numbers = torch.empty(8, 9 + NUM_FACTS, dtype=torch.int64, device=META)

    with Kernels() as kernels:
        tokens, logits = runner.decode_fixed(numbers)

    assert (tokens.shape, logits.shape) == ((8, 9), (8, 151_936))
    assert kernels.counts["aten._flash_attention_forward"] == 36
    assert kernels.counts.total() <= 600
