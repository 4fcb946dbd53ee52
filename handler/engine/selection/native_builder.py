"""Construction of the native engine in a given execution mode."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from handler.engine.batching.attempts import RETRIES
from handler.engine.batching.memory_plan import PROMPT_TOKENS, shrunk_cache_tokens
from handler.engine.batching.native import BatchingOptions, NativeEngine
from handler.engine.device.capacity import (
    choose_verified_tokens,
    find_room,
    largest_image_pixels,
)
from handler.engine.device.checks.self_test import SelfTest
from handler.engine.device.graphs import Record, Shape, list_shapes, make_cuda_recorder
from handler.engine.device.model import Model
from handler.engine.device.packed_weights import pack_text_model
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.drafts.drafter import Drafter
from handler.engine.engine import Engine
from handler.engine.fallbacks import Check, ExecutionMode, Fallback
from handler.engine.out_of_memory import is_out_of_memory
from handler.engine.request import EngineRequest
from handler.engine.selection.fallback_search import FallbackSearch
from handler.engine.steps import StepTimer
from handler.errors import ModelLoadError, OutOfMemoryError
from handler.profiles import PROFILES
from handler.settings import EngineSettings

__all__ = ["ChosenEngine", "NativeBuilder", "make_drafter_factory"]

logger = logging.getLogger(__name__)

_PIXELS_A_TOKEN = 32 * 32


@dataclass(frozen=True, slots=True)
class ChosenEngine:
    """Engine with its name, its capacity and its execution mode.

    `max_pages_in_flight` is the number of pages that its process should hold.
    """

    engine: Engine
    name: str
    max_pages_in_flight: int
    attention: str = "torch"
    """flash, torch or transformers: see EngineInfo."""
    cuda_graphs: bool = False
    fallbacks: tuple[Fallback, ...] = ()


class NativeBuilder:
    """Builder of native engines for one model, with the largest cache that fits."""

    def __init__(
        self,
        model: Model,
        settings: EngineSettings,
        profile: str,
        steps: StepTimer,
        record: Record | None,
    ) -> None:
        self._model = model
        self._steps = steps
        # One for all runners: each recorder has a stream with a cuBLAS workspace.
        self._record = record or make_cuda_recorder(model.device)
        # Pack before free memory is measured, because packing may leave gaps in the
        # allocator.
        pack_text_model(model.module.model.language_model)
        self._max_drafts = settings.draft_tokens or 0
        self._max_verified = choose_verified_tokens(model)
        room = find_room(model, settings, PROFILES[profile], self._list_shapes)
        self._room = room
        self._cache_tokens = room.cache_tokens
        self._fallbacks: tuple[Fallback, ...] = ()
        max_pixels = largest_image_pixels(PROFILES[profile], settings.max_side)
        self._max_page_tokens = (
            max_pixels // _PIXELS_A_TOKEN
            + PROMPT_TOKENS
            + PROFILES[profile].max_output_tokens
        )
        self._options = BatchingOptions(
            max_running_pages=room.num_pages,
            max_prefill_tokens=settings.prefill_tokens,
            max_draft_tokens=self._max_drafts,
            max_verified_tokens=self._max_verified,
            max_attempts=settings.max_attempts,
            retries=RETRIES[profile],
        )

    def build(self, mode: ExecutionMode) -> ChosenEngine:
        """Build the engine of a mode without running checks."""
        return self._create_engine(self._build_eager_runner(mode), mode)

    def build_tested(
        self,
        mode: ExecutionMode,
        self_test: SelfTest,
        search: FallbackSearch[ChosenEngine],
    ) -> ChosenEngine:
        """Build the engine of a mode, and run the checks that have not passed yet.

        Reduces the cache until the largest image fits beside it. Raises SelfTestError
        if a check finds a wrong result, OutOfMemoryError or ModelLoadError if the cache
        would become too small, and any error of the device.
        """
        if mode.attention == "flash" and Check.ATTENTION not in search.passed:
            with search.checking(Check.ATTENTION):
                self_test.check_attention()
        is_compared = False
        while True:
            if mode.cuda_graphs:
                with search.checking(Check.CUDA_GRAPHS):
                    runner = self._build_runner(
                        mode,
                        self._list_shapes(self._options.max_running_pages),
                        self_test.check_graphs,
                    )
                    self_test.check_graphs(runner)
            else:
                runner = self._build_eager_runner(mode)
            if not is_compared:  # a smaller cache has the same forward
                with search.checking(Check.FORWARD):
                    self_test.check_forward(runner)
                is_compared = True
            with search.checking(Check.LARGEST_IMAGE):
                is_fitting = _fits_largest_image(self_test, runner)
            if is_fitting:
                return self._create_engine(runner, mode)
            # Release this runner first, because two do not fit into memory.
            del runner
            self_test.recover()
            self._reduce_cache(mode)

    def _build_runner(
        self,
        mode: ExecutionMode,
        graph_shapes: Sequence[Shape],
        check_graphs: Callable[[TorchRunner], None] | None = None,
    ) -> TorchRunner:
        return TorchRunner(
            self._model,
            self._cache_tokens,
            max_page_tokens=self._max_page_tokens,
            graph_shapes=graph_shapes,
            record=self._record,
            check_graphs=check_graphs,
            # None uses the operator if the device has it; False forces torch's own.
            use_operator=None if mode.attention == "flash" else False,
            max_prefill_tokens=self._options.max_prefill_tokens,
            min_cache_tokens=self._room.min_cache_tokens,
            image_tokens=self._room.image_tokens,
        )

    def _build_eager_runner(self, mode: ExecutionMode) -> TorchRunner:
        """Build a runner without graphs.

        Raises ModelLoadError if the cache does not fit, because no mode needs less.
        """
        try:
            return self._build_runner(mode, [])
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise ModelLoadError(
                f"there is no memory for a cache of {self._cache_tokens} tokens on "
                f"{self._model.device}"
            ) from error

    def _list_shapes(self, max_rows: int) -> list[Shape]:
        return list_shapes(
            max_rows, max_drafts=self._max_drafts, max_verified=self._max_verified
        )

    def _create_engine(self, runner: TorchRunner, mode: ExecutionMode) -> ChosenEngine:
        engine = NativeEngine(
            runner,
            self._options,
            create_drafter=make_drafter_factory(self._model),
            steps=self._steps,
        )
        return ChosenEngine(
            engine,
            "native",
            # Two additional pages can join at once when others end.
            self._options.max_running_pages + 2,
            attention=mode.attention,
            cuda_graphs=mode.cuda_graphs,
            fallbacks=self._fallbacks,
        )

    def _reduce_cache(self, mode: ExecutionMode) -> None:
        """Make the next cache smaller, log it and add the fallback CACHE_REDUCED.

        If it would become too small, raises OutOfMemoryError if the mode has graphs,
        because a mode without them has more memory, and otherwise ModelLoadError.
        """
        cache_tokens = shrunk_cache_tokens(
            self._cache_tokens,
            page_tokens=self._room.min_cache_tokens,
            image_tokens=self._room.image_tokens,
        )
        if cache_tokens is None:
            shortage = (
                "a page of the largest size does not fit into the memory of "
                f"{self._model.device} beside the weights, with a cache of "
                f"{self._cache_tokens} tokens"
            )
            if mode.cuda_graphs:
                raise OutOfMemoryError(f"{shortage} and recorded steps")
            raise ModelLoadError(f"{shortage}: use a GPU with more memory")
        logger.warning(
            "self-test failed",
            extra={
                "check": Check.LARGEST_IMAGE,
                "fallback": Fallback.CACHE_REDUCED,
                "cache_tokens": self._cache_tokens,
                "to_cache_tokens": cache_tokens,
            },
        )
        self._cache_tokens = cache_tokens
        self._fallbacks = (Fallback.CACHE_REDUCED,)


def _fits_largest_image(self_test: SelfTest, runner: TorchRunner) -> bool:
    """Run the check; any out-of-memory error means that the page does not fit."""
    try:
        return self_test.fits_largest_image(runner)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False


class _PlainTokenizer:
    """Tokenizer for the drafter, which adds no special tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids)))


def make_drafter_factory(model: Model) -> Callable[[EngineRequest], Drafter]:
    """Return a function that makes the drafter of a page."""
    tokenizer = _PlainTokenizer(model.tokenizer)

    def create_drafter(request: EngineRequest) -> Drafter:
        return Drafter(
            tokenizer, text_layer=request.page.text_layer, prompt=request.prompt
        )

    return create_drafter
