"""Tokens per forward pass on real pages, with and without speculative decoding.

No model runs (teacher forcing). The pages are real, and their answers are those of a
perfect Chandra 1. A scripted runner feeds the answers to the project's own engine and
drafter. The result is how well drafts predict a correct answer, not the speed or
accuracy of a model.
"""

from __future__ import annotations

import argparse
import itertools
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report import finish, say
from bench.teacher_forcing.scripted import AnswerPrompt, AnswerRunner
from handler.engine.batching.drafting import DraftSource
from handler.engine.batching.native import BatchingOptions, NativeEngine
from handler.engine.drafts.drafter import Drafter, DraftTokenizer
from handler.engine.request import EngineOutput, EngineRequest, FinishReason
from handler.preprocess.pdf.render import read_text_layer
from handler.schema import Page

__all__ = [
    "PAGES",
    "BundledPage",
    "DraftCounts",
    "DraftMode",
    "count_forwards",
    "load_bundled_pages",
]

PAGES = Path(__file__).parent / "pages"
DRAFT_LENGTHS = (4, 8, 16)
"""Maximum numbers of draft tokens per forward pass."""
_REPORTED_LENGTH = 8
_PROMPT = "a div with the data-bbox attribute in [x0, y0, x1, y1] format"
"""Part of Chandra 1's prompt that the drafter looks for."""


@dataclass(frozen=True, slots=True)
class BundledPage:
    """Real page with the text layer of its PDF and the answer of a perfect model."""

    name: str
    text_layer: str
    answer: str


@dataclass(frozen=True, slots=True)
class DraftMode:
    """Sources of draft tokens that a run uses."""

    name: str
    has_drafts: bool = True
    has_text_layer: bool = True


WITHOUT_DRAFTS = DraftMode("no drafts", has_drafts=False)
WITHOUT_LAYER = DraftMode("n-grams and markup", has_text_layer=False)
WITH_LAYER = DraftMode("with the text layer")


@dataclass(frozen=True, slots=True)
class DraftCounts:
    """Counts of tokens, forward passes and drafts."""

    num_tokens: int = 0
    num_forwards: int = 0
    num_drafted: int = 0
    num_accepted: int = 0

    def __add__(self, other: DraftCounts) -> DraftCounts:
        return DraftCounts(
            self.num_tokens + other.num_tokens,
            self.num_forwards + other.num_forwards,
            self.num_drafted + other.num_drafted,
            self.num_accepted + other.num_accepted,
        )

    @property
    def tokens_per_forward(self) -> float:
        return self.num_tokens / self.num_forwards

    @property
    def acceptance_rate(self) -> float:
        return self.num_accepted / self.num_drafted if self.num_drafted else 0.0


def load_bundled_pages(folder: Path = PAGES) -> Iterator[BundledPage]:
    """Yield the bundled pages by name. A final line break is not part of an answer."""
    for path in sorted(folder.glob("*.pdf")):
        answer = path.with_suffix(".html").read_text(encoding="utf-8")
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as data,
        ):
            yield BundledPage(
                path.stem, read_text_layer(data, 1), answer.removesuffix("\n")
            )


def count_forwards(
    sample: BundledPage,
    tokenizer: DraftTokenizer,
    mode: DraftMode,
    max_draft_tokens: int,
) -> DraftCounts:
    """Generate a page's answer with the engine, and count tokens and forward passes.

    Raise RuntimeError if the engine's output differs from the answer.
    """
    tokens = tokenizer.encode(sample.answer)
    num_tokens = len(tokens) + 1  # with the end token
    runner = AnswerRunner({sample.name: tokens}, tokenizer.decode)

    def create_drafter(request: EngineRequest) -> DraftSource | None:
        if not mode.has_drafts:
            return None
        layer = sample.text_layer if mode.has_text_layer else ""
        return Drafter(tokenizer, text_layer=layer, prompt=_PROMPT)

    engine: NativeEngine[AnswerPrompt] = NativeEngine(
        runner,
        BatchingOptions(max_draft_tokens=max_draft_tokens),
        create_drafter=create_drafter,
    )
    page = Page(1, 1, 1, 1, 1, b"")
    engine.submit(
        EngineRequest(
            sample.name, sample.name, page, _PROMPT, max_output_tokens=num_tokens
        )
    )
    output = _generate(engine)
    if output.finish_reason is not FinishReason.STOP or output.text != sample.answer:
        raise RuntimeError(f"the output for {sample.name} differs from its file")
    return DraftCounts(
        num_tokens, runner.num_forwards, runner.num_drafted, runner.num_accepted
    )


def _generate(engine: NativeEngine[AnswerPrompt]) -> EngineOutput:
    while True:
        for output in engine.step(lambda: None):
            return output


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all pages and modes, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args(arguments)
    # Import late, because tests run without this optional dependency.
    from bench.teacher_forcing.vocabulary import QwenVocabulary

    tokenizer = QwenVocabulary()
    pages = list(load_bundled_pages())
    say(__doc__.partition("\n\n")[2])
    say(f"{len(pages)} pages, {tokenizer.name}'s vocabulary, one page at a time")
    totals = {}
    runs = [
        (WITHOUT_DRAFTS, 0),
        *itertools.product((WITHOUT_LAYER, WITH_LAYER), DRAFT_LENGTHS),
    ]
    for mode, length in runs:
        say()
        say(f"{mode.name}, {length} draft tokens" if length else mode.name)
        counts = {
            page.name: count_forwards(page, tokenizer, mode, length) for page in pages
        }
        totals[mode, length] = sum(counts.values(), DraftCounts())
        _say_table({**counts, "all": totals[mode, length]})
    say()
    finish(
        "drafts",
        {
            "tokens_per_forward_text_layer": _round_tokens_per_forward(
                totals[WITH_LAYER, _REPORTED_LENGTH]
            ),
            "tokens_per_forward_without_text_layer": _round_tokens_per_forward(
                totals[WITHOUT_LAYER, _REPORTED_LENGTH]
            ),
        },
        draft_tokens=_REPORTED_LENGTH,
        pages=len(pages),
        tokenizer=tokenizer.name,
        teacher_forcing=True,
    )


def _say_table(counts: dict[str, DraftCounts]) -> None:
    say(
        f"  {'page':<18}{'tokens':>8}{'forwards':>10}{'tokens/forward':>16}"
        f"{'accepted':>10}"
    )
    for name, count in counts.items():
        say(
            f"  {name:<18}{count.num_tokens:>15}{count.num_forwards:>15}"
            f"{count.tokens_per_forward:>15.2f}{count.acceptance_rate:>15.0%}"
        )


def _round_tokens_per_forward(count: DraftCounts) -> float:
    return round(count.tokens_per_forward, 3)


if __name__ == "__main__":
    main()
