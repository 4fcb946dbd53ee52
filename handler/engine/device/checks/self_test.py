"""Self-test of an engine on a GPU, which runs before the engine is ready.

It compares the attention operator with a reference in float32, recorded steps with the
same steps run eagerly, and the forward pass with that of transformers (see
`forward_check`). It also encodes an image of the largest size. The functions to compare
are parameters, so every check can also run on a CPU.
"""

from __future__ import annotations

import gc
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

from handler.engine.batching.model_runner import Chunk, ModelRunner
from handler.engine.device.attention import attend_by_operator, has_operator
from handler.engine.device.capacity import largest_image_pixels
from handler.engine.device.checks.attention_check import (
    HeadGeometry,
    check_attention,
    generate_cases,
    relative_error,
)
from handler.engine.device.checks.forward_check import check_forward
from handler.engine.device.graphs import DecodeGraphs, FixedRow
from handler.engine.device.model import Model
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.device.transfer import copy_to
from handler.engine.fallbacks import Check, SelfTestError
from handler.engine.request import EngineRequest
from handler.errors import OutOfMemoryError
from handler.profiles import Profile
from handler.schema import Page
from handler.settings import EngineSettings

__all__ = [
    "CudaSelfTest",
    "SelfTest",
    "check_graphs",
    "fits_largest_image",
    "free_and_probe_device",
]

logger = logging.getLogger(__name__)

LARGEST_LOGIT_ERROR = 0.05
"""Allowed error, as a share of the largest logit. The same kernels give identical
results, but cuBLAS may choose other kernels on another stream."""
_NUM_STEPS = 2
_PATCH_GRID = 32


@torch.inference_mode()
def check_graphs(
    graphs: DecodeGraphs,
    compute_logits: Callable[[torch.Tensor], torch.Tensor],
    *,
    num_cache_positions: int,
    vocabulary_size: int,
) -> float:
    """Compare recorded steps with the same steps computed eagerly.

    Both write random tokens into the cache, which no page uses yet: recorded steps into
    one half of the segments, eager steps into the other. Each step of a shape has new
    tokens and continues from the keys and values of the step before. The eager logit of
    a recorded token may be below the largest one by LARGEST_LOGIT_ERROR, and recorded
    and eager logits may differ by as much.

    Returns the largest error. Raises SelfTestError for a larger one.
    """
    worst = 0.0
    for shape in graphs.shapes:
        room = _NUM_STEPS * shape.width
        num_rows = min(shape.num_rows, num_cache_positions // (2 * room))
        if num_rows == 0:
            continue
        generator = torch.Generator().manual_seed(shape.num_rows * 100 + shape.width)
        for number in range(_NUM_STEPS):
            size = (num_rows, shape.width)
            inputs = torch.randint(vocabulary_size, size, generator=generator).tolist()
            recorded, eager = (
                [
                    FixedRow(tokens, number * shape.width, (first + row) * room, 0)
                    for row, tokens in enumerate(inputs)
                ]
                for first in (0, num_rows)
            )
            tokens, logits = (output.clone() for output in graphs.run(recorded, shape))
            expected = compute_logits(graphs.prepare_numbers(eager, shape))[:num_rows]
            error = _step_error(tokens, logits, expected.float())
            if error > LARGEST_LOGIT_ERROR:
                raise SelfTestError(
                    Check.CUDA_GRAPHS,
                    f"{shape.num_rows} rows of {shape.width}, step {number + 1}",
                    actual=error,
                    allowed=LARGEST_LOGIT_ERROR,
                )
            worst = max(worst, error)
    return worst


def _step_error(
    tokens: torch.Tensor, logits: torch.Tensor, expected: torch.Tensor
) -> float:
    """Return the largest error of a step's tokens and logits.

    Shapes: [rows, width] tokens, [rows, vocabulary] logits of each row's first token,
    and [rows, width, vocabulary] expected logits. A token's error is the difference
    between the largest logit and its own, because two tokens may have equal logits in
    bfloat16.
    """
    chosen = expected.gather(2, tokens[..., None])[..., 0]
    shortfall = (expected.amax(dim=-1) - chosen).max() / expected.abs().max()
    return max(float(shortfall), relative_error(logits, expected[:, 0]))


def fits_largest_image(
    runner: ModelRunner[Any], max_pixels: int, *, max_prefill_tokens: int
) -> bool:
    """Encode a blank page of `max_pixels`, and prefill its first tokens.

    Writes to the first positions of the cache, and releases the image. Returns False if
    the device does not have enough memory.
    """
    width, height = _largest_size(max_pixels)
    pixels = b"\xff" * (width * height * 3)
    page = Page(1, width, height, width, height, pixels)
    request = EngineRequest("self-test", "self-test", page, "", 1)
    prompt = None
    try:
        prompt = runner.tokenise(request)
        count = min(prompt.num_tokens, max_prefill_tokens, runner.num_cache_positions)
        runner.prefill(Chunk(prompt, (), 0, count, 0))
    except OutOfMemoryError:
        return False
    finally:
        if prompt is not None:
            runner.release_image(prompt)
    return True


def _largest_size(max_pixels: int) -> tuple[int, int]:
    """Return the width and height, on the patch grid, of at most `max_pixels`."""
    width = _on_grid(min(math.isqrt(max_pixels * 3 // 2), 10**5))
    return width, _on_grid(max_pixels // width)


def _on_grid(pixels: int) -> int:
    return max(_PATCH_GRID, pixels // _PATCH_GRID * _PATCH_GRID)


class SelfTest(Protocol):
    """Interface of the self-test; the checks are in the order in which they run."""

    has_operator: bool

    def check_attention(self) -> None:
        """Raise SelfTestError if the attention operator is wrong."""

    def check_graphs(self, runner: TorchRunner) -> None:
        """Raise SelfTestError if recorded steps differ from eager ones."""

    def check_forward(self, runner: TorchRunner) -> None:
        """Raise SelfTestError if the runner's forward differs from transformers'."""

    def fits_largest_image(self, runner: TorchRunner) -> bool:
        """Return whether a page of the largest size fits into memory."""

    def recover(self) -> bool:
        """Release the memory of a failed attempt; return whether the device works."""


class CudaSelfTest:
    """Self-test of a model on a CUDA device; see `SelfTest` for the methods.

    `max_pixels` is the size of the largest image that the memory plan allows for.
    """

    def __init__(
        self,
        model: Model,
        settings: EngineSettings,
        profile: Profile,
        *,
        count_reserved: Callable[[torch.device], int] = torch.cuda.memory_reserved,
    ) -> None:
        self._model = model
        self._count_reserved = count_reserved
        self._reserved_before = count_reserved(model.device)
        self.max_pixels = largest_image_pixels(profile, settings.max_side)
        self._max_prefill_tokens = settings.prefill_tokens
        self._dtype: torch.dtype = model.module.dtype
        self.has_operator = has_operator(model.device, self._dtype)

    def check_attention(self) -> None:
        """Check the attention operator, and log its largest error.

        Raises SelfTestError if it is too large. Releases torch's unused memory.
        """
        heads = HeadGeometry.of(self._model.module.config.get_text_config())
        started = time.monotonic()
        cases = generate_cases(heads, self._model.device, self._dtype)
        error = check_attention(attend_by_operator, cases)
        # Free cached memory for the KV cache, which is allocated next.
        torch.cuda.empty_cache()
        self._reserved_before = self._count_reserved(self._model.device)
        _log_passed(Check.ATTENTION, started, error=round(error, 5))

    def check_graphs(self, runner: TorchRunner) -> None:
        """Check the recorded steps, and log their largest error.

        Raises SelfTestError if it is too large.
        """
        started = time.monotonic()
        config = self._model.module.config.get_text_config()
        error = check_graphs(
            runner.graphs,
            runner.compute_logits,
            num_cache_positions=runner.num_cache_positions,
            vocabulary_size=config.vocab_size,
        )
        _log_passed(Check.CUDA_GRAPHS, started, error=round(error, 5))

    def check_forward(self, runner: TorchRunner) -> None:
        """Check the forward pass, and log its largest error.

        Raises SelfTestError if it is too large.
        """
        started = time.monotonic()
        error = check_forward(self._model, runner)
        _log_passed(Check.FORWARD, started, error=round(error, 5))

    def fits_largest_image(self, runner: TorchRunner) -> bool:
        """Return whether the largest image fits, and log the peak memory if it does."""
        device, started = self._model.device, time.monotonic()
        torch.cuda.reset_peak_memory_stats(device)
        fits = fits_largest_image(
            runner, self.max_pixels, max_prefill_tokens=self._max_prefill_tokens
        )
        if fits:
            _log_passed(
                Check.LARGEST_IMAGE,
                started,
                allocated_bytes=torch.cuda.max_memory_allocated(device),
                reserved_bytes=torch.cuda.max_memory_reserved(device),
                memory_bytes=torch.cuda.mem_get_info(device)[1],
            )
        return fits

    def recover(self) -> bool:
        """Release unused memory, and log how much torch still reserves.

        Returns False, without the log line, if the device does not compute any more.
        """
        if not free_and_probe_device(self._model.device):
            return False
        # The difference is the memory of workspaces and of a failed capture.
        reserved = self._count_reserved(self._model.device)
        logger.info(
            "memory released",
            extra={
                "reserved_bytes": reserved,
                "reserved_bytes_before": self._reserved_before,
            },
        )
        return True


def free_and_probe_device(
    device: torch.device,
    copy: Callable[[torch.device, torch.Tensor], torch.Tensor] = copy_to,
) -> bool:
    """Free unused memory of a device, and return whether the device still computes.

    The probe copies from pinned memory, draws a random number and adds. It fails after
    an error that destroyed the CUDA context, and if a failed capture left one of
    torch's allocators or its random number generator in capture mode. `copy` replaces
    `copy_to` in tests.
    """
    gc.collect()
    try:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()
        ones = copy(device, torch.ones(8))
        index = int(torch.multinomial(ones, 1))
        return 0 <= index < 8 and float((ones + ones).sum()) == 16.0
    except Exception:
        logger.exception("device unusable")
        return False


def _log_passed(check: Check, started: float, **numbers: float) -> None:
    """Log that a check has passed, with its time since `started` and its results."""
    seconds = round(time.monotonic() - started, 3)
    logger.info("self-test", extra={"check": check, "seconds": seconds, **numbers})
