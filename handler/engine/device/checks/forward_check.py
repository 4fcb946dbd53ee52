"""Comparison of the native engine's forward pass with that of transformers.

Both compute a small page with the loaded weights: its image in the vision encoder, its
prompt in two chunks of prefill, and a row of several tokens like a decode step. Both
use the same weights, pixels, tokens, positions and patch embedding, so a fault in these
is not detected.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from handler.engine.batching.model_runner import Chunk
from handler.engine.device.encoder import TorchPrompt
from handler.engine.device.graphs import FixedRow, Shape
from handler.engine.device.model import Inputs, Model
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.fallbacks import Check, SelfTestError
from handler.engine.request import EngineRequest
from handler.schema import Page

__all__ = ["LARGEST_DEEP_DEVIATION", "LARGEST_DEVIATION", "check_forward"]

LARGEST_DEVIATION = 0.1
"""Allowed deviation of the image's features, and of keys and values of the first layer:
root mean square of the error, as a share of that of the expected values."""
LARGEST_DEEP_DEVIATION = 0.3
"""Allowed deviation of later layers and of logits, where the rounding errors of all
layers before add up. This is an estimate: Chandra's 36 layers were not measured."""
_LARGEST_SHORTFALL = 0.05
"""Allowed difference between the largest logit and that of the chosen token, as a share
of the largest logit."""
_ROW_WIDTH = 9
_WIDTH, _HEIGHT = 128, 192
_PROMPT = "Read this page from top to bottom, and write all of it as HTML."


@torch.inference_mode()
def check_forward(model: Model, runner: TorchRunner) -> float:
    """Compare the runner with transformers on a small page; return the largest error.

    The comparison covers the image's features, the keys and values of every layer, and
    the logits of the row without their mean. Writes to the first positions of the
    cache, which belong to no page yet. Raises SelfTestError if an error is above
    LARGEST_DEVIATION, or above LARGEST_DEEP_DEVIATION after the first layer.
    """
    page = _make_noise_page()
    inputs = model.prepare_inputs(page, _PROMPT)
    prompt = runner.tokenise(EngineRequest("self-test", "self-test", page, _PROMPT, 1))
    errors = [_check_image(model.module, runner, prompt, inputs)]

    row = _draw_row_tokens(inputs.input_ids, model.image_token_id)
    expected = _compute_reference(model, inputs, row)
    chosen = _prefill(runner, prompt)
    logits = expected.logits[0].float()
    numbers = runner.graphs.prepare_numbers(
        [FixedRow(row.tolist(), prompt.num_tokens, 0, prompt.rope_delta)],
        Shape(1, _ROW_WIDTH),
    )
    actual = runner.compute_logits(numbers)[0]
    errors.append(_check_cache(runner, expected.past_key_values, prompt))
    shortfall = logits[0].max() - logits[0, chosen]
    _compare(
        f"token behind {prompt.num_tokens} tokens",
        float(shortfall / logits[0].abs().max()),
        _LARGEST_SHORTFALL,
    )
    errors.append(
        _compare(
            f"logits of a row of {_ROW_WIDTH}",
            _deviation(_centred(actual), _centred(logits[1:])),
            LARGEST_DEEP_DEVIATION,
        )
    )
    return max(errors)


def _make_noise_page() -> Page:
    """Make a page of random pixels, because blank patches would hide a wrong order."""
    generator = torch.Generator().manual_seed(1)
    size = (_HEIGHT, _WIDTH, 3)
    pixels = torch.randint(256, size, generator=generator, dtype=torch.uint8)
    return Page(1, _WIDTH, _HEIGHT, _WIDTH, _HEIGHT, pixels.numpy().tobytes())


def _draw_row_tokens(input_ids: torch.Tensor, image_token_id: int) -> torch.Tensor:
    """Draw [_ROW_WIDTH] tokens from those of the prompt's text."""
    text_ids = input_ids[input_ids != image_token_id]
    generator = torch.Generator().manual_seed(2)
    drawn = torch.randint(len(text_ids), (_ROW_WIDTH,), generator=generator)
    return text_ids[drawn.to(text_ids.device)]


def _check_image(
    module: Any, runner: TorchRunner, prompt: TorchPrompt, inputs: Inputs
) -> float:
    """Encode the image with the runner and with transformers; return the largest error.

    The prompt keeps the image that the runner has encoded. Raises SelfTestError.
    """
    while not runner.encode(prompt):
        pass
    assert prompt.encoded is not None
    grid = torch.tensor([inputs.grid], device=inputs.pixel_values.device)
    features = module.model.visual(inputs.pixel_values, grid_thw=grid, return_dict=True)
    visual_at = torch.tensor(prompt.visual_at, device=grid.device)
    embeddings = prompt.encoded.embeddings.index_select(0, visual_at)
    pairs = [
        ("image features", embeddings, features.pooler_output),
        *(
            (f"image features of layer {index}", layer, expected)
            for index, (layer, expected) in enumerate(
                zip(prompt.encoded.deepstack, features.deepstack_features, strict=True)
            )
        ),
    ]
    return max(
        _compare(case, _deviation(actual, expected)) for case, actual, expected in pairs
    )


def _compute_reference(model: Model, inputs: Inputs, row: torch.Tensor) -> Any:
    """Compute the prompt and the row with transformers, in one forward pass.

    The output has the logits after the prompt and after each token of the row, [1, 1 +
    _ROW_WIDTH, vocabulary], and the cache of keys and values.
    """
    input_ids = torch.cat([inputs.input_ids, row])[None]
    return model.module(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        mm_token_type_ids=(input_ids == model.image_token_id).int(),
        pixel_values=inputs.pixel_values,
        image_grid_thw=torch.tensor([inputs.grid], device=input_ids.device),
        use_cache=True,
        logits_to_keep=1 + _ROW_WIDTH,
    )


def _check_cache(runner: TorchRunner, expected: Any, prompt: TorchPrompt) -> float:
    """Compare each layer's keys and values of the image, the text and the row.

    Returns the largest error, or raises SelfTestError.
    """
    num_tokens = prompt.num_tokens + _ROW_WIDTH
    numbers = torch.arange(num_tokens)
    is_image = torch.nn.functional.pad(prompt.is_image, (0, _ROW_WIDTH))
    is_row = numbers >= prompt.num_tokens
    groups = {
        name: numbers[is_in_group].to(runner.cache.keys[0].device)
        for name, is_in_group in (
            ("image", is_image),
            ("text", ~is_image & ~is_row),
            ("row", is_row),
        )
    }
    return max(
        _compare(
            f"{kind} of the {name}, layer {index}",
            _deviation(
                cached[index].index_select(0, group),
                getattr(layer, kind)[0].transpose(0, 1).index_select(0, group),
            ),
            LARGEST_DEVIATION if index == 0 else LARGEST_DEEP_DEVIATION,
        )
        for index, layer in enumerate(expected.layers)
        for kind, cached in (
            ("keys", runner.cache.keys),
            ("values", runner.cache.values),
        )
        for name, group in groups.items()
    )


def _prefill(runner: TorchRunner, prompt: TorchPrompt) -> int:
    """Compute the prompt in two chunks, cut within its image; return the next token."""
    first = prompt.visual_at[len(prompt.visual_at) // 2]
    runner.prefill(Chunk(prompt, (), 0, first, 0))
    chosen = runner.prefill(Chunk(prompt, (), first, prompt.num_tokens - first, 0))
    assert chosen is not None  # the chunk was the last
    return chosen


def _centred(logits: torch.Tensor) -> torch.Tensor:
    """Subtract each row's mean, which chooses no token, from [n, vocabulary] logits."""
    logits = logits.float()
    return logits - logits.mean(dim=-1, keepdim=True)


def _deviation(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the root mean square of the error, as a share of that of `expected`.

    It is infinite if a value is not finite, or if the shapes differ.
    """
    expected = expected.float()
    if actual.shape != expected.shape:
        return math.inf
    error = float((actual.float() - expected).norm() / expected.norm())
    return error if math.isfinite(error) else math.inf


def _compare(case: str, error: float, allowed: float = LARGEST_DEVIATION) -> float:
    """Return the error; raise SelfTestError if it is above what is allowed."""
    if not error <= allowed:
        raise SelfTestError(Check.FORWARD, case, actual=error, allowed=allowed)
    return error
