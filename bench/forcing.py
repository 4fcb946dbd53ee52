"""Pages whose answers are known beforehand, and a runner that has them said.

Teacher forcing. Random weights produce no text that a drafter could predict. So the
page is real, its text layer is real, the drafter is the project's, every forward is
computed in full, and then the bundled transcription's token replaces the computed one.
All timed work is done; draft tokens are accepted as often as they would be by a model
that reads the page as its transcriber did.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench.drafts import PAGES, samples
from bench.geometry import Geometry
from bench.roofline import Decode, Prefill, Work
from bench.tokenizer import QwenTokenizer
from handler.engine.batching.kv_cache import Move
from handler.engine.batching.model_runner import Chunk, Row
from handler.engine.device.encoder import TorchPrompt
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.request import EngineRequest
from handler.preprocess.document import decode_page
from handler.preprocess.limits import Limits
from handler.prompts import load_prompts
from handler.sandbox.wire import Descriptor
from handler.schema import Page

__all__ = ["Forced", "ForcedRunner", "Forward", "Marks", "forced_pages", "marks_of"]


@dataclass(frozen=True, slots=True)
class Forced:
    """A page, and exactly what is going to be said about it."""

    request: EngineRequest
    tokens: tuple[int, ...]

    def named(self, name: str, share: float = 1.0) -> Forced:
        """The same page once more, or the first part of it."""
        tokens = self.tokens[: max(1, round(share * len(self.tokens)))]
        again = replace(self.request, id=name, max_output_tokens=len(tokens))
        return Forced(again, tokens)


def forced_pages(
    geometry: Geometry, tokenizer: QwenTokenizer, count: int
) -> list[Forced]:
    """The bundled pages by turns, each time with another length.

    A page takes part where its transcription is long enough for the length; it is
    cut there. Where none is, it is repeated, which n-grams predict better than text.
    """
    prompt = load_prompts(geometry.profile)["ocr_layout"]
    pages = [
        (_page(name, geometry), tokenizer.encode(answer))
        for name, answer in ((sample.name, sample.answer) for sample in samples())
    ]
    turns = itertools.cycle(range(len(pages)))
    forced = []
    for number, length in enumerate(geometry.lengths.forced(count), start=1):
        longest = max(range(len(pages)), key=lambda index: len(pages[index][1]))
        candidates = itertools.islice(turns, len(pages))
        index = next((i for i in candidates if len(pages[i][1]) >= length), longest)
        page, answer = pages[index]
        tokens = itertools.islice(itertools.cycle(answer), length)
        name = f"page/{number}"
        request = EngineRequest(name, name, page, prompt, max_output_tokens=length)
        forced.append(Forced(request, tuple(tokens)))
    return forced


def _page(name: str, geometry: Geometry) -> Page:
    path = PAGES / f"{name}.pdf"
    sizing = geometry.profile.sizing
    with path.open("rb") as file:
        document = Descriptor(file.fileno())
        return decode_page(document, "application/pdf", 1, sizing, Limits())


@dataclass(frozen=True, slots=True)
class Marks:
    """How points in the device's time are taken, and what lies between two."""

    take: Callable[[], Any]
    seconds_between: Callable[[Any, Any], float]
    """Once the device has reached both."""


def marks_of(device: torch.device, clock: Callable[[], float]) -> Marks:
    """On a GPU events in its stream, which make nobody wait; elsewhere the clock."""
    if device.type != "cuda":
        return Marks(clock, lambda begin, end: end - begin)

    def take() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    return Marks(take, lambda begin, end: begin.elapsed_time(end) / 1000)


@dataclass(frozen=True, slots=True)
class Forward:
    """A forward that was computed: what it was, and between which marks."""

    work: Work
    begin: Any
    end: Any


class ForcedRunner:
    """A ModelRunner: the one it is given computes, the pages' own tokens are said."""

    def __init__(self, runner: TorchRunner, marks: Marks) -> None:
        self._runner = runner
        self._marks = marks
        self._scripts: dict[str, Sequence[int]] = {}
        self.forwards: list[Forward] = []

    def script(self, page: Forced) -> None:
        """Take note of what a page is going to say."""
        self._scripts[page.request.id] = page.tokens

    def encode(self, prompt: TorchPrompt) -> bool:
        """Encode a slice; the last slice counts as the work of the whole image."""
        begin = self._marks.take()
        is_complete = self._runner.encode(prompt)
        num_patches = prompt.num_patches if is_complete else 0
        self._note(Prefill(0, 0, num_patches, is_last=False), begin)
        return is_complete

    def prefill(self, chunk: Chunk[TorchPrompt]) -> int | None:
        work = Prefill(
            chunk.start, chunk.count, _num_patches(chunk), is_last=chunk.is_last
        )
        begin = self._marks.take()
        token = self._runner.prefill(chunk)
        self._note(work, begin)
        if token is None:
            return None
        return self._said(chunk.prompt, chunk.end - 1, token)

    def decode(self, rows: Sequence[Row[TorchPrompt]]) -> list[list[int]]:
        work = Decode(
            num_rows=len(rows),
            num_tokens=sum(len(row.tokens) for row in rows),
            num_cached=sum(row.start + len(row.tokens) for row in rows),
        )
        begin = self._marks.take()
        chosen = self._runner.decode(rows)
        self._note(work, begin)
        return [
            [
                self._said(row.prompt, position, token)
                for position, token in enumerate(tokens, row.start)
            ]
            for row, tokens in zip(rows, chosen, strict=True)
        ]

    def _note(self, work: Work, begin: Any) -> None:
        self.forwards.append(Forward(work, begin, self._marks.take()))

    def _said(self, prompt: TorchPrompt, position: int, token: int) -> int:
        """The script's token after a position; behind its end the model's own."""
        script = self._scripts[prompt.request.id]
        number = position + 1 - prompt.num_tokens
        return script[number] if number < len(script) else token

    @property
    def num_cache_positions(self) -> int:
        return self._runner.num_cache_positions

    @property
    def max_tokens(self) -> int:
        return self._runner.max_tokens

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        return self._runner.stop_token_ids

    def tokenise(self, request: EngineRequest) -> TorchPrompt:
        return self._runner.tokenise(request)

    def move(self, moves: Sequence[Move]) -> None:
        self._runner.move(moves)

    def release_image(self, prompt: TorchPrompt) -> None:
        self._runner.release_image(prompt)

    def shrink_cache(self) -> int | None:
        return self._runner.shrink_cache()

    def detokenise(self, token_ids: Sequence[int]) -> str:
        return self._runner.detokenise(token_ids)


def _num_patches(chunk: Chunk[TorchPrompt]) -> int:
    """Of the image, if it is encoded for this chunk."""
    prompt = chunk.prompt
    if prompt.encoded is not None or chunk.start >= prompt.num_tokens:
        return 0
    return prompt.num_patches
