"""Loading of a model onto a device, and conversion of pages to its input.

All engines use this module.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer
from transformers.utils import logging as transformers_logging

from handler.engine.batching.memory_plan import PROMPT_TOKENS
from handler.engine.device.accelerator import Accelerator
from handler.engine.device.transfer import copy_to
from handler.engine.device.vision.attention import disable_cudnn_attention
from handler.engine.device.vision.patch_embedding import replace_convolutions
from handler.engine.out_of_memory import is_out_of_memory
from handler.errors import InvalidOptionError, ModelLoadError
from handler.prompts import IMAGE_TOKEN, chat
from handler.schema import Page
from handler.weights.checkpoint import read_tensor_names
from handler.weights.loading_report import check_report, log_library_warnings
from handler.weights.read_ahead import ReadAhead
from handler.weights.source import LocalWeights

__all__ = [
    "Inputs",
    "Model",
    "check_free_memory",
    "load_model",
    "measure_device_bytes",
    "pixels_to_patches",
    "select_and_list_accelerators",
]

logger = logging.getLogger(__name__)

_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Inputs:
    """Model input of one page, as tensors on the device."""

    input_ids: torch.Tensor
    """[n] int64: the chat, with one image token for each merged patch."""
    pixel_values: torch.Tensor
    """[patches, channels * frames * patch * patch] in the model's dtype."""
    grid: tuple[int, int, int]
    """Frames, rows and columns of patches."""


class Model:
    """Loaded checkpoint with its tokenizer."""

    def __init__(
        self, module: Any, tokenizer: Any, stop_tokens: tuple[str, ...]
    ) -> None:
        self.module = module
        self.tokenizer = tokenizer
        self.device: torch.device = module.device
        vision = module.config.vision_config
        self.patch_size: int = vision.patch_size
        self.merge_size: int = vision.spatial_merge_size
        self.num_frames: int = vision.temporal_patch_size
        self.max_tokens: int = module.config.get_text_config().max_position_embeddings
        self.image_token_id: int = self._find_token_id(IMAGE_TOKEN)
        self.stop_token_ids = tuple(self._find_token_id(token) for token in stop_tokens)

    def _find_token_id(self, token: str) -> int:
        """Return the id of a token; raise ModelLoadError if it is not one token."""
        ids = self.tokenizer.encode(token, add_special_tokens=False)
        if len(ids) != 1:
            raise ModelLoadError(f"the tokenizer does not know {token}")
        return int(ids[0])

    def tokenise(
        self, page: Page, prompt: str
    ) -> tuple[torch.Tensor, tuple[int, int, int]]:
        """Tokenise the prompt: [n] ids on the host, and the grid of patches.

        Raises InvalidOptionError if the prompt has more tokens than memory is planned
        for.
        """
        rows = page.pixel_height // self.patch_size
        columns = page.pixel_width // self.patch_size
        num_image_tokens = rows * columns // self.merge_size**2
        ids = self.tokenizer.encode(
            chat(prompt, num_image_tokens), add_special_tokens=False
        )
        if len(ids) - num_image_tokens > PROMPT_TOKENS:
            self._raise_too_long(len(ids) - num_image_tokens)
        return torch.tensor(ids), (1, rows, columns)

    def _raise_too_long(self, num_tokens: int) -> NoReturn:
        """Raise the error for a prompt; `num_tokens` are those of the whole turn."""
        num_around = len(self.tokenizer.encode(chat("", 0), add_special_tokens=False))
        raise InvalidOptionError(
            f"prompt has {num_tokens - num_around:,} tokens; the limit is "
            f"{PROMPT_TOKENS - num_around:,}"
        )

    def prepare_inputs(self, page: Page, prompt: str) -> Inputs:
        """Tokenise the prompt and cut the page into patches, on the device."""
        input_ids, grid = self.tokenise(page, prompt)
        return Inputs(
            input_ids=copy_to(self.device, input_ids),
            pixel_values=self.cut_into_patches(page),
            grid=grid,
        )

    def cut_into_patches(self, page: Page) -> torch.Tensor:
        """Cut the page into [patches, channels * frames * patch * patch].

        The pixels are copied to the device first, and cut there.
        """
        host = torch.frombuffer(bytearray(page.pixels), dtype=torch.uint8)
        pixels = copy_to(self.device, host).view(page.pixel_height, page.pixel_width, 3)
        return pixels_to_patches(
            pixels,
            self.patch_size,
            self.merge_size,
            self.num_frames,
            self.module.dtype,
        )

    def detokenise(self, token_ids: list[int]) -> str:
        """Return the text of tokens, without stop and other special tokens."""
        return str(self.tokenizer.decode(token_ids, skip_special_tokens=True))


def pixels_to_patches(
    pixels: torch.Tensor,
    patch_size: int,
    merge_size: int,
    num_frames: int,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Cut [height, width, 3] uint8 into [patches, 3 * num_frames * patch_size**2].

    Equals what the reference image processor of Qwen-VL does after its resize: scale to
    [-1, 1] in float32, repeat the image for every frame, and list the patches so that
    those merged into one token stand together. The result is rounded to `dtype`.
    """
    height, width, _ = pixels.shape
    rows = height // (patch_size * merge_size)
    columns = width // (patch_size * merge_size)
    tiles = pixels.reshape(
        rows, merge_size, patch_size, columns, merge_size, patch_size, 3
    ).permute(0, 3, 1, 4, 6, 2, 5)
    scaled = tiles.to(torch.float32, memory_format=torch.contiguous_format)
    scaled.div_(127.5).sub_(1.0)
    patches = torch.empty(
        (rows * columns * merge_size**2 * 3, num_frames, patch_size**2),
        dtype=dtype,
        device=pixels.device,
    )
    # One copy rounds the values and repeats them for every frame.
    patches.copy_(scaled.view(-1, 1, patch_size**2))
    return patches.view(-1, 3 * num_frames * patch_size**2)


def select_and_list_accelerators(
    index: int = 0, cuda: Any = torch.cuda
) -> list[Accelerator]:
    """Make CUDA device `index` the current one, and describe all CUDA devices.

    This must be the first call of an engine process that uses CUDA. torch's calls
    without an explicit device (streams, graphs, pinned memory) use the current one, and
    a context on another process's device would take some of its memory. `cuda` has the
    functions of torch.cuda.
    """
    accelerators = []
    count = cuda.device_count()
    if index < count:
        cuda.set_device(index)
    for number in range(count):
        properties = cuda.get_device_properties(number)
        accelerators.append(
            Accelerator(
                name=properties.name,
                capability=(properties.major, properties.minor),
                memory_bytes=properties.total_memory,
            )
        )
    return accelerators


def check_free_memory(device: str, num_bytes: int, cuda: Any = torch.cuda) -> None:
    """Check that `num_bytes` of weights fit into the free memory of a CUDA device.

    Raises a transient ModelLoadError if not: other processes use the rest. `cuda` has
    the functions of torch.cuda.
    """
    if not device.startswith("cuda"):
        return
    free, total = cuda.mem_get_info(device)
    if num_bytes > free:
        raise ModelLoadError(
            f"{device} has {free / _GIB:.1f} GiB of {total / _GIB:.1f} GiB free, and "
            f"the weights take {num_bytes / _GIB:.1f} GiB: other processes use the "
            "rest. End them (nvidia-smi lists them), or give this server a GPU of its "
            "own",
            is_transient=True,
        )


def measure_device_bytes(device: str) -> int | None:
    """Return how much memory of a CUDA device is in use; None on a processor.

    The memory of other processes counts.
    """
    if not device.startswith("cuda"):
        return None
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def load_model(
    weights: LocalWeights,
    device: str,
    cpu_threads: int | None = None,
    ahead: ReadAhead | None = None,
) -> Model:
    """Load a checkpoint in bfloat16 onto the device, a few tensors at a time.

    `ahead` is the read-ahead of its files, if one runs. Sets torch's number of threads
    to `cpu_threads` unless it is None, and silences transformers' log and progress bars
    in this process. On a CUDA device, turns off cuDNN's attention. Logs how fast the
    weights were loaded. Raises ModelLoadError if the checkpoint cannot be read, does
    not fit into memory, or has a missing tensor or one of another shape.
    """
    if cpu_threads is not None:
        torch.set_num_threads(cpu_threads)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    started = time.monotonic()
    warnings: list[str] = []
    try:
        tokenizer = AutoTokenizer.from_pretrained(weights.path, local_files_only=True)
        with log_library_warnings() as warnings:
            loaded: Any = AutoModelForImageTextToText.from_pretrained(
                weights.path,
                dtype=torch.bfloat16,
                device_map={"": device},
                attn_implementation="sdpa",
                local_files_only=True,
                # check_report raises an error for them that has both shapes.
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
            module, report = loaded
    except Exception as error:  # A broken checkpoint may raise any error.
        if is_out_of_memory(error):
            raise ModelLoadError(
                f"{weights.path} does not fit into the memory of {device}"
            ) from error
        reasons = "; transformers: ".join([str(error), *warnings])
        raise ModelLoadError(f"{weights.path} cannot be loaded: {reasons}") from error
    check_report(
        weights.path,
        report,
        num_expected=len(module.state_dict()),
        names=read_tensor_names(weights.path),
        ignored_patterns=module._keys_to_ignore_on_load_unexpected or (),
    )
    replace_convolutions(module)
    disable_cudnn_attention(device)
    _log_speed(weights, device, time.monotonic() - started, ahead)
    return Model(module.eval(), tokenizer, weights.profile.stop_tokens)


def _log_speed(
    weights: LocalWeights, device: str, seconds: float, ahead: ReadAhead | None
) -> None:
    """Log the speed of loading, and the share of the time that storage took.

    Waits for the read-ahead, if there is one.
    """
    numbers: dict[str, object] = {}
    if ahead is not None:
        num_bytes, read_seconds = ahead.wait()
        if num_bytes and read_seconds:
            # From the first byte read to the last one loaded.
            whole_seconds = max(seconds, time.monotonic() - ahead.started)
            numbers = {
                "read_seconds": round(read_seconds, 3),
                "storage_bytes_per_second": round(num_bytes / read_seconds),
                "storage_fraction": round(read_seconds / whole_seconds, 3),
            }
    logger.info(
        "weights",
        extra={
            "bytes": weights.num_bytes,
            "seconds": round(seconds, 3),
            "bytes_per_second": round(weights.num_bytes / seconds),
            "device": device,
            **numbers,
        },
    )
