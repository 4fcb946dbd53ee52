"""Systems to compare, each over the same pages with the same lengths."""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from bench.costs.roofline import A10G, Costs, DeviceRates, Prefill
from bench.runs.recorder import TimedRecorder
from bench.teacher_forcing.forcing import (
    ForcedPage,
    ForcedRunner,
    make_forced_pages,
    make_timer,
)
from bench.teacher_forcing.geometry import Geometry, random_model
from bench.teacher_forcing.steady import (
    SteadyState,
    check_length,
    percentiles,
    run_steadily,
)
from bench.teacher_forcing.tokenizer import QwenTokenizer
from handler.engine.batching.memory_plan import COUNTED_PAGE_TOKENS, PROMPT_TOKENS
from handler.engine.batching.native import BatchingOptions, NativeEngine
from handler.engine.device.capacity import measure_cache_tokens
from handler.engine.device.generate import GenerateEngine
from handler.engine.device.graphs import list_shapes
from handler.engine.device.model import Model
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.selection.choice import make_drafter_factory
from handler.settings import EngineSettings

__all__ = ["MeasuredModel", "NativeVariant"]

_DRAFT_TOKENS = EngineSettings().draft_tokens or 0
_SPARE_POSITIONS = 256
"""Extra cache positions per page for drafts and preallocation."""
_PIXELS_A_TOKEN = 32 * 32


@dataclass(frozen=True, slots=True)
class NativeVariant:
    """Variant of the native engine."""

    in_flight: int
    has_graphs: bool = True
    has_drafts: bool = True
    max_verified_tokens: int = 64
    draft_rows: bool = False
    """True if drafts are verified as rows of one query."""

    @property
    def name(self) -> str:
        graphs = "graphs" if self.has_graphs else "no graphs"
        drafts = "drafts" if self.has_drafts else "no drafts"
        name = f"{self.in_flight} in flight, {graphs}, {drafts}"
        name += " as rows" if self.draft_rows else ""
        usual = BatchingOptions().max_verified_tokens
        if self.max_verified_tokens == usual:
            return name
        return f"{name}, {self.max_verified_tokens} verified"


class MeasuredModel:
    """Model with random weights on a device, its pages, and its roofline."""

    def __init__(
        self,
        geometry: Geometry,
        device: torch.device,
        rates: DeviceRates,
        num_pages: int,
    ) -> None:
        self.device = device
        self.rates = rates
        self.geometry = geometry
        self._timer = make_timer(device, time.perf_counter)
        self.pages = make_forced_pages(geometry, QwenTokenizer(), num_pages)
        self.model: Model = random_model(geometry, device)
        self.costs = Costs.of_module(self.model.module)

    @property
    def mean_length(self) -> float:
        """Mean number of tokens of an answer."""
        return statistics.fmean(len(page.tokens) for page in self.pages)

    @property
    def max_page_tokens(self) -> int:
        """Maximum number of tokens of a page, prompt and answer, as in the engine."""
        profile = self.geometry.profile
        num_image_tokens = profile.sizing.max_pixels // _PIXELS_A_TOKEN
        return num_image_tokens + PROMPT_TOKENS + profile.max_output_tokens

    def num_prompt_tokens(self, page: ForcedPage) -> int:
        """Return the number of tokens of a page's prompt, including its image."""
        return self._whole_prefill(page).count

    def measure_generate(self, batch_size: int, seconds: float) -> dict[str, Any]:
        """Measure `generate` of transformers over as many batches as time allows."""
        engine = GenerateEngine(self.model, batch_size)
        _generate_batch(engine, [self.pages[0].with_name("warm-up", 0.01)])
        self._settle(reset=True)
        run = _Batches()
        pages = itertools.cycle(self.pages)
        while not run.steps or run.seconds + max(run.steps) <= seconds:
            batch = list(itertools.islice(pages, batch_size))
            begin = time.perf_counter()
            _generate_batch(engine, batch)
            run.steps.append(time.perf_counter() - begin)
            run.num_tokens += sum(len(page.tokens) for page in batch)
            run.num_pages += len(batch)
            run.ideal_seconds += self.costs.seconds_together(
                [(self._whole_prefill(page), len(page.tokens)) for page in batch],
                self.rates,
            )
        return {
            "batch_size": batch_size,
            "seconds": run.seconds,
            "pages_per_second": run.num_tokens / self.mean_length / run.seconds,
            "tokens_per_second": run.num_tokens / run.seconds,
            "page_latency": percentiles(
                [step for step in run.steps for _ in range(batch_size)]
            ),
            "pages_ended": run.num_pages,
            "fraction_of_roofline": run.ideal_seconds / run.seconds,
            "peak_bytes": self._peak_bytes(),
        }

    def measure_native(self, native: NativeVariant, seconds: float) -> dict[str, Any]:
        """Measure the steady state of the engine with a cache for all pages."""
        # Release the memory of earlier runs, so that it does not count as used.
        self._settle(reset=True)
        most = max(self._whole_prefill(p).count + len(p.tokens) for p in self.pages)
        cache_tokens = native.in_flight * (most + _SPARE_POSITIONS)
        cache_tokens = min(cache_tokens, measure_cache_tokens(self.model))
        report, _ = self._run_native(native, native.in_flight, cache_tokens, seconds)
        return report

    def measure_small_cache(
        self, native: NativeVariant, seconds: float
    ) -> dict[str, Any]:
        """Measure the engine with the cache of a 24 GB card; `in_flight` is ignored."""
        cache_tokens = self.geometry.small_cache_bytes // self.costs.cache_bytes
        count = max(1, cache_tokens // COUNTED_PAGE_TOKENS)
        report, steady = self._run_native(native, count, cache_tokens, seconds)
        ideal = steady.num_tokens / steady.ideal_seconds(self.costs, A10G)
        report["a10g_projection"] = {
            "note": "a projection: this fraction of an A10G's estimated roofline",
            "tokens_per_second": ideal
            * steady.fraction_of_roofline(self.costs, self.rates),
        }
        return report

    def _run_native(
        self,
        native: NativeVariant,
        max_sequences: int,
        cache_tokens: int,
        seconds: float,
    ) -> tuple[dict[str, Any], SteadyState]:
        self._settle(reset=True)
        options = BatchingOptions(
            max_running_pages=max_sequences,
            max_draft_tokens=_DRAFT_TOKENS if native.has_drafts else 0,
            max_verified_tokens=native.max_verified_tokens,
            max_attempts=1,
        )
        recorder = TimedRecorder(self.device)
        of_shapes = list_shapes(
            max_sequences,
            max_drafts=options.max_draft_tokens,
            max_verified=options.max_verified_tokens,
        )
        runner = ForcedRunner(
            TorchRunner(
                self.model,
                cache_tokens,
                max_page_tokens=self.max_page_tokens,
                graph_shapes=of_shapes if native.has_graphs else (),
                record=recorder,
                draft_rows=native.draft_rows,
            ),
            self._timer,
        )
        engine = NativeEngine(
            runner, options, create_drafter=make_drafter_factory(self.model)
        )
        steady = run_steadily(
            engine, runner, self.pages, in_flight=max_sequences, seconds=seconds
        )
        self._settle()
        report = {
            "in_flight": max_sequences,
            "cache_places": cache_tokens,
            **steady.report(self.costs, self.rates, self._timer),
            "graphs_recorded": recorder.num_recorded,
            "recording_seconds": recorder.seconds,
            "peak_bytes": self._peak_bytes(),
        }
        return report, steady

    def _whole_prefill(self, page: ForcedPage) -> Prefill:
        """Return the prefill of a page's whole prompt."""
        request = page.request
        ids, (frames, rows, columns) = self.model.tokenise(request.page, request.prompt)
        return Prefill(0, len(ids), num_patches=frames * rows * columns)

    def _settle(self, *, reset: bool = False) -> None:
        """Synchronise with the device; with `reset`, also release unused memory."""
        if self.device.type != "cuda":
            return
        torch.cuda.synchronize(self.device)
        if reset:
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def _peak_bytes(self) -> int | None:
        if self.device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self.device)


@dataclass(slots=True)
class _Batches:
    steps: list[float] = field(default_factory=list)
    """Seconds of each batch."""
    num_tokens: int = 0
    num_pages: int = 0
    ideal_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        return sum(self.steps)


def _generate_batch(engine: GenerateEngine, batch: list[ForcedPage]) -> None:
    """Read a batch; raise RuntimeError if a page ends before its forced length."""
    for page in batch:
        engine.submit(page.request)
    lengths = {page.request.id: len(page.tokens) for page in batch}
    for output in engine.step(lambda: None):
        check_length(output, lengths[output.engine_request_id])
