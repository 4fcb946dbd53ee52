"""Number of answers that change with speculative decoding.

The embedded model reads the same pages twice, one at a time: without drafts, and with
drafts from the PDF's text layer. In exact arithmetic both answers are the same. A
forward over several tokens rounds differently from one over a single token, so in
bfloat16 a token whose probability is nearly that of another can change.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.engine import DRAFT_TOKENS, EngineFactory, load_mini
from bench.report import finish, say
from bench.runs.documents import make_pdf_requests, render_pages_of_lognormal_length
from bench.runs.running import EngineRun, read_pages

__all__ = ["Agreement", "compare_answers", "main"]

_BOX = re.compile(r'data-bbox="[^"]*"')


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts of a comparison of two runs over the same pages."""

    num_pages: int
    num_changed: int
    """Answers that differ in any character."""
    num_changed_outside_boxes: int
    """Answers that differ in more than the numbers of boxes."""


def compare_answers(before: dict[str, str], after: dict[str, str]) -> Agreement:
    """Count the pages whose answers differ; the keys name the pages."""
    changed = [name for name, text in before.items() if after[name] != text]
    outside = [
        name
        for name in changed
        if _BOX.sub("", before[name]) != _BOX.sub("", after[name])
    ]
    return Agreement(len(before), len(changed), len(outside))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the counts, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--pages", type=int, default=60, help="number of pages (default 60)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=os.cpu_count(),
        help="number of torch threads (default: one per core)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="bfloat16",
        help="type of the weights (default bfloat16)",
    )
    parser.add_argument("--seed", default="1", help="seed of the pages (default 1)")
    options = parser.parse_args(arguments)

    torch.set_num_threads(options.threads)
    engines = EngineFactory(load_mini(getattr(torch, options.dtype)))
    pages = make_pdf_requests(
        render_pages_of_lognormal_length(options.pages, options.seed)
    )
    texts_without_drafts = _texts_by_page(
        read_pages(engines.make_native_engine(1, 0), pages, in_flight=1)
    )
    run = read_pages(engines.make_native_engine(1, DRAFT_TOKENS), pages, in_flight=1)
    agreement = compare_answers(texts_without_drafts, _texts_by_page(run))
    say(
        f"{agreement.num_pages} pages, {options.dtype}, drafts of {DRAFT_TOKENS} tokens"
    )
    say(f"answers that change: {agreement.num_changed}")
    say(f"of these, in more than box numbers: {agreement.num_changed_outside_boxes}")
    finish(
        "draft_agreement",
        {
            "changed": round(agreement.num_changed / agreement.num_pages, 3),
            "changed_outside_boxes": round(
                agreement.num_changed_outside_boxes / agreement.num_pages, 3
            ),
            "tokens_per_forward": round(run.tokens_per_forward, 3),
        },
        pages=agreement.num_pages,
        dtype=options.dtype,
        torch=torch.__version__,
    )


def _texts_by_page(run: EngineRun) -> dict[str, str]:
    return {name: output.text for name, output in run.outputs.items()}


if __name__ == "__main__":
    main()
