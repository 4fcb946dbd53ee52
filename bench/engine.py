"""Comparison of the native engine with transformers' `generate`.

The embedded model reads pages of lognormal length on a CPU, in bfloat16 as it is
served. `generate` determines the length of each answer, one page at a time. The other
systems are forced to the same number of tokens, so that all do the same work. Equal
texts are counted; in float32 all texts are equal.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.report import finish, say
from bench.runs.documents import (
    make_pdf_requests,
    make_png_requests,
    render_pages_of_lognormal_length,
)
from bench.runs.running import EngineRun, read_pages
from handler.engine.batching.native import BatchingOptions, NativeEngine
from handler.engine.device.capacity import measure_cache_tokens
from handler.engine.device.generate import GenerateEngine
from handler.engine.device.model import Model, load_model
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.engine import Engine
from handler.engine.request import EngineRequest
from handler.engine.selection.choice import make_drafter_factory
from handler.settings import EngineSettings
from handler.weights.source import MINI, Source, fetch

__all__ = ["DRAFT_TOKENS", "EngineFactory", "load_mini", "main"]

IN_FLIGHT = 16
MICRO_BATCH = 8
MICRO_BATCHES = f"generate, {MICRO_BATCH} at once"
DRAFT_TOKENS = EngineSettings().draft_tokens or 0


@dataclass(frozen=True, slots=True)
class EngineFactory:
    """Factory of the engines to compare, which share one model."""

    model: Model

    def disable_stop_tokens(self) -> None:
        """Change the model, so that answers of all engines end only at their limit."""
        unused_token = self.model.tokenizer.convert_tokens_to_ids("<|video_pad|>")
        self.model.stop_token_ids = (unused_token,)

    def make_generate_engine(self, num_pages: int) -> Engine:
        return GenerateEngine(self.model, num_pages)

    def make_native_engine(self, num_pages: int, num_drafts: int) -> Engine:
        options = BatchingOptions(
            max_running_pages=num_pages, max_draft_tokens=num_drafts, max_attempts=1
        )
        runner = TorchRunner(self.model, measure_cache_tokens(self.model))
        return NativeEngine(
            runner, options, create_drafter=make_drafter_factory(self.model)
        )


def load_mini(dtype: torch.dtype) -> Model:
    """Load the embedded model on the processor, with weights of that type."""
    weights = fetch(Source("mini", str(MINI)), EngineSettings(), Path("unused"))
    model = load_model(weights, "cpu")
    module = model.module.to(dtype)
    return Model(module, model.tokenizer, weights.profile.stop_tokens)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all systems, and print a table and the ratios."""
    options = _parse_arguments(arguments)
    torch.set_num_threads(options.threads)
    engines = EngineFactory(load_mini(getattr(torch, options.dtype)))
    rendered_pages = render_pages_of_lognormal_length(options.pages, options.seed)
    pictures = make_png_requests(rendered_pages)
    pdf_pages = make_pdf_requests(rendered_pages)
    say(__doc__)
    say(
        f"{len(rendered_pages)} pages, {IN_FLIGHT} in flight, {options.dtype}, "
        f"{options.threads} threads"
    )
    _warm_up(engines, pictures[:2])

    sequential = read_pages(engines.make_generate_engine(1), pictures, in_flight=1)
    engines.disable_stop_tokens()
    pictures, pdf_pages = (
        [_limit_to_run(page, sequential) for page in pages]
        for pages in (pictures, pdf_pages)
    )
    _say_header()
    _say_run("generate, one by one", sequential, sequential)
    runs = _measure_systems(engines, pictures, pdf_pages, sequential)
    say()
    single_page_speedup = _measure_single_pages(engines, pictures[: options.alone])
    finish(
        "engine",
        _summarise(runs, sequential, single_page_speedup),
        pages=len(rendered_pages),
        in_flight=IN_FLIGHT,
        dtype=options.dtype,
        threads=options.threads,
        torch=torch.__version__,
    )


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--pages", type=int, default=48, help="number of pages (default 48)"
    )
    parser.add_argument(
        "--alone", type=int, default=8, help="pages read one at a time (default 8)"
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
    return parser.parse_args(arguments)


def _measure_systems(
    engines: EngineFactory,
    pictures: Sequence[EngineRequest],
    pdf_pages: Sequence[EngineRequest],
    sequential: EngineRun,
) -> dict[str, EngineRun]:
    """Read the pages with each system; print its row, and return the runs by name."""
    many, one = IN_FLIGHT, 1
    runs = {}
    for name, engine, pages, in_flight in (
        (MICRO_BATCHES, engines.make_generate_engine(MICRO_BATCH), pictures, many),
        ("native, no drafts", engines.make_native_engine(many, 0), pictures, many),
        ("native", engines.make_native_engine(many, DRAFT_TOKENS), pictures, many),
        (
            "native, PDF",
            engines.make_native_engine(many, DRAFT_TOKENS),
            pdf_pages,
            many,
        ),
        # A page that runs alone gets longer drafts.
        (
            "native, PDF, one by one",
            engines.make_native_engine(one, DRAFT_TOKENS),
            pdf_pages,
            1,
        ),
    ):
        runs[name] = read_pages(engine, pages, in_flight=in_flight)
        _say_run(name, runs[name], sequential)
    return runs


def _summarise(
    runs: Mapping[str, EngineRun], sequential: EngineRun, single_page_speedup: float
) -> dict[str, float]:
    """Return the results that the report records, by name."""
    native = runs["native"]
    return {
        "pages_per_second_vs_sequential": _compute_speedup(native, sequential),
        "pages_per_second_vs_micro_batches": _compute_speedup(
            native, runs[MICRO_BATCHES]
        ),
        "single_page_latency_vs_generate": single_page_speedup,
        "tokens_per_forward_text_layer": runs[
            "native, PDF, one by one"
        ].tokens_per_forward,
        f"tokens_per_forward_text_layer_{IN_FLIGHT}_in_flight": runs[
            "native, PDF"
        ].tokens_per_forward,
        "tokens_per_forward_without_text_layer": native.tokens_per_forward,
    }


def _limit_to_run(page: EngineRequest, run: EngineRun) -> EngineRequest:
    """Return a page whose limit is its number of tokens in the run, with the end."""
    num_tokens = run.outputs[page.id].num_output_tokens
    return replace(page, max_output_tokens=num_tokens + 1)


def _warm_up(engines: EngineFactory, pages: Sequence[EngineRequest]) -> None:
    for engine in (
        engines.make_generate_engine(1),
        engines.make_native_engine(2, DRAFT_TOKENS),
    ):
        read_pages(engine, pages, in_flight=2)


def _measure_single_pages(
    engines: EngineFactory, pages: Sequence[EngineRequest]
) -> float:
    """Read each page alone with both engines; print and return the speed-up."""
    seconds = {"generate": 0.0, "native": 0.0}
    for page in pages:
        for name, engine in (
            ("generate", engines.make_generate_engine(1)),
            ("native", engines.make_native_engine(1, DRAFT_TOKENS)),
        ):
            seconds[name] += read_pages(engine, [page], in_flight=1).seconds
    ratio = seconds["generate"] / seconds["native"]
    say(
        f"a page alone, mean of {len(pages)}: "
        f"generate {seconds['generate'] / len(pages):.2f} s, "
        f"native {seconds['native'] / len(pages):.2f} s, {ratio:.2f} x"
    )
    return ratio


def _compute_speedup(run: EngineRun, baseline: EngineRun) -> float:
    return run.pages_per_second / baseline.pages_per_second


def _say_header() -> None:
    say(
        f"{'':24}{'pages/s':>9}{'tokens/s':>9}{'x':>6}{'tokens a':>10}{'drafts':>9}"
        f"{'p50 s':>8}{'p95 s':>8}{'same text':>11}"
    )
    say(f"{'':48}{'forward':>10}{'accepted':>9}")


def _say_run(name: str, run: EngineRun, baseline: EngineRun) -> None:
    rate = run.acceptance_rate
    accepted = "" if rate is None else f"{rate:.0%}"
    same = f"{run.num_same_texts(baseline)}/{len(run.outputs)}"
    say(
        f"{name:24}{run.pages_per_second:9.2f}{run.tokens_per_second:9.0f}"
        f"{_compute_speedup(run, baseline):6.2f}{run.tokens_per_forward:10.2f}"
        f"{accepted:>9}{run.latency(50):8.2f}{run.latency(95):8.2f}{same:>11}"
    )


if __name__ == "__main__":
    main()
