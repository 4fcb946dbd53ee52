"""Counts of the operations of every kind of step, by runs over fake tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from bench.costs.fake_cuda import DEVICE, FakeDevice, fake_cuda
from bench.costs.kernels import OperatorTally
from bench.costs.roofline import GpuDataSheet
from bench.teacher_forcing.geometry import Geometry, empty_module
from bench.teacher_forcing.tokenizer import QwenTokenizer
from handler.engine.batching.memory_plan import CONTEXT_BYTES, MemoryPlan
from handler.engine.batching.model_runner import Chunk, Row
from handler.engine.batching.native import BatchingOptions
from handler.engine.device.capacity import estimate_verified_tokens, plan_loaded_model
from handler.engine.device.encoder import TorchPrompt
from handler.engine.device.graphs import Shape, list_shapes
from handler.engine.device.model import Model
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.request import EngineRequest
from handler.preprocess.sizing import pdf_target_size, target_size
from handler.prompts import load_prompts
from handler.schema import Page
from handler.settings import EngineSettings

__all__ = [
    "CountedStep",
    "StepCounts",
    "a4_size",
    "count_steps",
    "fake_model",
    "largest_size",
]

NUM_PAGES = (1, 8, 32, 64)
NUM_DRAFTS = 8
_ANSWER_TOKENS = 600
"""Answer tokens of a page in a decode step: half of a usual answer."""
_A4_POINTS = (595.28, 841.89)


@dataclass(frozen=True, slots=True)
class CountedStep:
    """Step of the engine, or a separately computed part of it."""

    name: str
    recorded: OperatorTally
    """Operations that a CUDA graph replays; empty without recording."""
    eager: OperatorTally
    """Operations that are launched one by one, and host synchronisations."""

    @property
    def tallies(self) -> tuple[OperatorTally, OperatorTally]:
        return self.recorded, self.eager

    @property
    def num_operators(self) -> int:
        return sum(tally.num_operators for tally in self.tallies)

    @property
    def num_kernels(self) -> int:
        return sum(tally.num_kernels for tally in self.tallies)

    @property
    def num_bytes(self) -> int:
        return sum(tally.num_bytes for tally in self.tallies)

    @property
    def flops(self) -> int:
        return sum(tally.flops for tally in self.tallies)

    @property
    def num_synchronisations(self) -> int:
        return sum(tally.num_synchronisations for tally in self.tallies)


@dataclass(slots=True)
class StepCounts:
    """Steps at one geometry with the sizes that estimates need."""

    geometry: Geometry
    weight_bytes: int
    position_bytes: int
    """Bytes of the keys and values of one token in all layers."""
    page_positions: int
    """Cache positions of a page in the decode steps."""
    decode: dict[int, CountedStep] = field(default_factory=dict)
    """Recorded steps of one token per page, by the number of pages."""
    drafted: CountedStep | None = None
    """Recorded step that verifies drafts."""
    mixed: CountedStep | None = None
    """Decode step followed by the last chunk of a prompt."""
    other_steps: list[CountedStep] = field(default_factory=list)
    page_prefill: list[CountedStep] = field(default_factory=list)
    """Encoding of an A4 page, and all chunks of its prompt."""

    @property
    def steps(self) -> list[CountedStep]:
        named = [step for step in (self.drafted, self.mixed) if step is not None]
        return [*self.decode.values(), *named, *self.other_steps]

    @property
    def forbidden(self) -> list[str]:
        """Operations of recorded steps that a CUDA graph cannot hold."""
        operations = [
            f"{step.name}: {what}"
            for step in (*self.decode.values(), self.drafted)
            if step is not None
            for what in step.recorded.forbidden
        ]
        return list(dict.fromkeys(operations))

    def num_pages_that_fit(self, gpu: GpuDataSheet) -> int:
        """Return how many pages of `page_positions` the cache of a GPU holds."""
        return self.plan_memory(gpu).room_tokens // self.page_positions

    def plan_memory(self, gpu: GpuDataSheet) -> MemoryPlan:
        """Divide the GPU's memory as the engine does with its usual settings."""
        settings = EngineSettings()
        most = estimate_verified_tokens(gpu.capability)

        def shapes_for(max_rows: int) -> list[Shape]:
            return list_shapes(
                max_rows, max_drafts=settings.draft_tokens or 0, max_verified=most
            )

        return plan_loaded_model(
            self.geometry.config(),
            settings,
            self.geometry.profile,
            shapes_for,
            available_bytes=int(gpu.memory_bytes) - self.weight_bytes - CONTEXT_BYTES,
            capability=gpu.capability,
        )


def fake_model(geometry: Geometry) -> Model:
    """Return a model whose weights have shapes but no values.

    Call it within `fake_cuda`.
    """
    # Create the model outside the mode: its operations do not count, and are slow.
    with _disable_current_modes():
        module = empty_module(geometry)
    for owner in module.modules():
        for name, like in list(owner.named_parameters(recurse=False)):
            weight = torch.empty(like.shape, dtype=like.dtype, device=DEVICE)
            setattr(owner, name, nn.Parameter(weight, requires_grad=False))
        for name, buffer in list(owner.named_buffers(recurse=False)):
            setattr(owner, name, buffer.to(DEVICE))
    return Model(module.eval(), QwenTokenizer(), geometry.profile.stop_tokens)


def count_steps(
    geometry: Geometry,
    num_pages: Iterable[int] = NUM_PAGES,
) -> StepCounts:
    """Run every kind of step once at the geometry and count."""
    with fake_cuda() as fake, torch.inference_mode():
        model = fake_model(geometry)
        text = model.module.config.text_config
        heads = 2 * text.num_hidden_layers * text.num_key_value_heads
        page, text_prompt = _make_page(geometry, a4_size(geometry))
        input_ids, _ = model.tokenise(page, text_prompt)
        counts = StepCounts(
            geometry,
            weight_bytes=sum(
                weight.numel() * weight.dtype.itemsize
                for weight in model.module.parameters()
            ),
            position_bytes=heads * text.head_dim * model.module.dtype.itemsize,
            page_positions=len(input_ids) + _ANSWER_TOKENS,
        )
        fake.used_positions = counts.page_positions
        num_pages = sorted(num_pages)
        drafted = Shape(min(8, num_pages[-1]), 1 + NUM_DRAFTS)
        runner = TorchRunner(
            model,
            counts.page_positions * num_pages[-1],
            graph_shapes=[drafted, *(Shape(count, 1) for count in num_pages)],
            record=fake.record,
        )
        usual = _make_prompt(runner, geometry, a4_size(geometry))
        for count in num_pages:
            name = f"decode, {count} page" + "s" * (count > 1)
            counts.decode[count] = _count_decode(
                fake, runner, usual, Shape(count, 1), name
            )
        _count_others(fake, runner, geometry, usual, drafted, counts)
    return counts


def _count_others(
    fake: FakeDevice,
    runner: TorchRunner,
    geometry: Geometry,
    usual: TorchPrompt,
    drafted: Shape,
    counts: StepCounts,
) -> None:
    name = f"decode, {drafted.num_rows} pages with {NUM_DRAFTS} drafts"
    counts.drafted = _count_decode(fake, runner, usual, drafted, name)
    too_wide = Shape(drafted.num_rows, drafted.width + 1)
    name = f"decode, {drafted.num_rows} pages, not recorded"
    counts.other_steps.append(_count_decode(fake, runner, usual, too_wide, name))
    chunks = _count_prefill(fake, runner, usual)
    counts.other_steps += [chunks[0], chunks[-1]]
    beside = list(counts.decode.values())[min(1, len(counts.decode) - 1)]
    counts.mixed = CountedStep(
        f"mixed: {beside.name} and a last chunk",
        beside.recorded,
        beside.eager + chunks[-1].eager,
    )
    encoding = _count_encoding(fake, runner, geometry, a4_size(geometry))
    largest = _count_encoding(fake, runner, geometry, largest_size(geometry))
    counts.other_steps += [encoding, largest]
    counts.page_prefill = [encoding, *chunks]


def _count_decode(
    fake: FakeDevice, runner: TorchRunner, prompt: TorchPrompt, shape: Shape, name: str
) -> CountedStep:
    tokens = [1] * shape.width
    row = Row(prompt, tokens, prompt.num_tokens + _ANSWER_TOKENS - shape.width, 0)
    with fake.count_separately() as eager:
        runner.decode([row] * shape.num_rows)
    return CountedStep(name, fake.recorded.get(shape, OperatorTally()), eager)


def _count_prefill(
    fake: FakeDevice, runner: TorchRunner, prompt: TorchPrompt
) -> list[CountedStep]:
    """Count the chunks of a prompt whose image is encoded already."""
    size = min(BatchingOptions().max_prefill_tokens, prompt.num_tokens // 2)
    runner.prefill(Chunk(prompt, [], 0, size, 0))  # It is encoded here.
    steps = []
    usual = fake.used_positions
    for start in range(0, prompt.num_tokens, size):
        count = min(size, prompt.num_tokens - start)
        fake.used_positions = start + count
        with fake.count_separately() as eager:
            runner.prefill(Chunk(prompt, [], start, count, 0))
        which = "last" if start + count == prompt.num_tokens else "earlier"
        steps.append(
            CountedStep(f"prefill, {which} chunk of {count}", OperatorTally(), eager)
        )
    fake.used_positions = usual
    return steps


def _count_encoding(
    fake: FakeDevice, runner: TorchRunner, geometry: Geometry, size: tuple[int, int]
) -> CountedStep:
    """Count the operations by which the first chunk exceeds its repetition."""
    prompt = _make_prompt(runner, geometry, size)
    tallies = []
    for _ in range(2):
        with fake.count_separately() as eager:
            runner.prefill(Chunk(prompt, [], 0, 16, 0))
        tallies.append(eager)
    width, height = size
    return CountedStep(
        f"encoding, {width} x {height}", OperatorTally(), tallies[0] - tallies[1]
    )


def _make_prompt(
    runner: TorchRunner, geometry: Geometry, size: tuple[int, int]
) -> TorchPrompt:
    page, text = _make_page(geometry, size)
    return runner.tokenise(EngineRequest("request/1", "request", page, text, 1))


def _make_page(geometry: Geometry, size: tuple[int, int]) -> tuple[Page, str]:
    width, height = size
    page = Page(1, width, height, width, height, bytes(3 * width * height))
    return page, load_prompts(geometry.profile)["ocr_layout"]


def a4_size(geometry: Geometry) -> tuple[int, int]:
    """Return the width and height at which the model gets an A4 page of a PDF."""
    return pdf_target_size(*_A4_POINTS, geometry.profile.sizing)


def largest_size(geometry: Geometry) -> tuple[int, int]:
    """Return the width and height of the largest image with a ratio of 2 to 3."""
    return target_size(20_000, 30_000, geometry.profile.sizing)
