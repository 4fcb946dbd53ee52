"""Teacher forcing: pages with known answers, and a runner that outputs these answers.

A drafter cannot predict the output of random weights. So pages, text layers and drafter
are real, each forward pass is computed in full, and the tokens of the bundled
transcription then replace the sampled ones. The measured work is the same, and drafts
are accepted as often as with a model that reads the page like its transcriber.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench.costs.roofline import Decode, Prefill, Work
from bench.drafts import PAGES, load_bundled_pages
from bench.teacher_forcing.geometry import Geometry
from bench.teacher_forcing.tokenizer import QwenTokenizer
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

__all__ = [
    "DeviceTimer",
    "ForcedPage",
    "ForcedRunner",
    "Forward",
    "make_forced_pages",
    "make_timer",
]


@dataclass(frozen=True, slots=True)
class ForcedPage:
    """Page with the exact answer that is going to be generated."""

    request: EngineRequest
    tokens: tuple[int, ...]

    def with_name(self, name: str, share: float = 1.0) -> ForcedPage:
        """Return a copy under another name with the first `share` of the answer.

        The copy has at least one token.
        """
        tokens = self.tokens[: max(1, round(share * len(self.tokens)))]
        again = replace(self.request, id=name, max_output_tokens=len(tokens))
        return ForcedPage(again, tokens)


def make_forced_pages(
    geometry: Geometry, tokenizer: QwenTokenizer, count: int
) -> list[ForcedPage]:
    """Return the bundled pages in turn, with the given lengths.

    A page is used if its transcription is long enough, and is truncated to the length.
    If none is long enough, the transcription is repeated, which n-grams predict better
    than other text.
    """
    prompt = load_prompts(geometry.profile)["ocr_layout"]
    pages = [
        (_page(name, geometry), tokenizer.encode(answer))
        for name, answer in (
            (sample.name, sample.answer) for sample in load_bundled_pages()
        )
    ]
    turns = itertools.cycle(range(len(pages)))
    forced = []
    for number, length in enumerate(geometry.lengths.quantiles(count), start=1):
        longest = max(range(len(pages)), key=lambda index: len(pages[index][1]))
        candidates = itertools.islice(turns, len(pages))
        index = next((i for i in candidates if len(pages[i][1]) >= length), longest)
        page, answer = pages[index]
        tokens = itertools.islice(itertools.cycle(answer), length)
        name = f"page/{number}"
        request = EngineRequest(name, name, page, prompt, max_output_tokens=length)
        forced.append(ForcedPage(request, tuple(tokens)))
    return forced


def _page(name: str, geometry: Geometry) -> Page:
    path = PAGES / f"{name}.pdf"
    sizing = geometry.profile.sizing
    with path.open("rb") as file:
        document = Descriptor(file.fileno())
        return decode_page(document, "application/pdf", 1, sizing, Limits())


@dataclass(frozen=True, slots=True)
class DeviceTimer:
    """Functions that take timestamps of the device and measure their distance."""

    take: Callable[[], Any]
    seconds_between: Callable[[Any, Any], float]
    """Valid once the device has reached both marks."""


def make_timer(device: torch.device, clock: Callable[[], float]) -> DeviceTimer:
    """Return marks by CUDA events, which do not synchronise, or else by the clock."""
    if device.type != "cuda":
        return DeviceTimer(clock, lambda begin, end: end - begin)

    def take() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    return DeviceTimer(take, lambda begin, end: begin.elapsed_time(end) / 1000)


@dataclass(frozen=True, slots=True)
class Forward:
    """Computed forward pass with its marks."""

    work: Work
    begin: Any
    end: Any


class ForcedRunner:
    """ModelRunner that computes with another one, but outputs the forced tokens."""

    def __init__(self, runner: TorchRunner, timer: DeviceTimer) -> None:
        self._runner = runner
        self._timer = timer
        self._scripts: dict[str, Sequence[int]] = {}
        self.forwards: list[Forward] = []

    def add_answer(self, page: ForcedPage) -> None:
        """Register the answer of a page."""
        self._scripts[page.request.id] = page.tokens

    def encode(self, prompt: TorchPrompt) -> bool:
        """Encode a slice of a page's image; return True if it was the last.

        The last slice counts as the work of the whole image.
        """
        begin = self._timer.take()
        is_complete = self._runner.encode(prompt)
        num_patches = prompt.num_patches if is_complete else 0
        self._record_forward(Prefill(0, 0, num_patches, is_last=False), begin)
        return is_complete

    def prefill(self, chunk: Chunk[TorchPrompt]) -> int | None:
        work = Prefill(
            chunk.start, chunk.count, _num_patches(chunk), is_last=chunk.is_last
        )
        begin = self._timer.take()
        token = self._runner.prefill(chunk)
        self._record_forward(work, begin)
        if token is None:
            return None
        return self._forced_token(chunk.prompt, chunk.end - 1, token)

    def decode(self, rows: Sequence[Row[TorchPrompt]]) -> list[list[int]]:
        work = Decode(
            num_rows=len(rows),
            num_tokens=sum(len(row.tokens) for row in rows),
            num_cached=sum(row.start + len(row.tokens) for row in rows),
        )
        begin = self._timer.take()
        chosen = self._runner.decode(rows)
        self._record_forward(work, begin)
        return [
            [
                self._forced_token(row.prompt, position, token)
                for position, token in enumerate(tokens, row.start)
            ]
            for row, tokens in zip(rows, chosen, strict=True)
        ]

    def _record_forward(self, work: Work, begin: Any) -> None:
        self.forwards.append(Forward(work, begin, self._timer.take()))

    def _forced_token(self, prompt: TorchPrompt, position: int, token: int) -> int:
        """Return the forced token after a position, or `token` after the end."""
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
    """Return the number of image patches that are encoded for this chunk."""
    prompt = chunk.prompt
    if prompt.encoded is not None or chunk.start >= prompt.num_tokens:
        return 0
    return prompt.num_patches
