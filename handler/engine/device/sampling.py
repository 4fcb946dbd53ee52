"""Choice of the next tokens from logits, without waiting for the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from handler.engine.request import Sampling

__all__ = ["choose_tokens", "sample_token"]


def choose_tokens(logits: torch.Tensor, samplings: Sequence[Sampling]) -> torch.Tensor:
    """Choose a token for each of [n, vocabulary] logits; return [n] on the device.

    At temperature 0 this is the most likely token, otherwise a drawn one.
    """
    chosen = logits.argmax(dim=-1)
    for index, sampling in enumerate(samplings):
        if sampling.temperature > 0:
            chosen[index] = sample_token(logits[index], sampling)
    return chosen


def sample_token(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Draw a token from the smallest set whose probability reaches `top_p`.

    Takes [vocabulary] logits and a temperature above 0, and returns [] on the device.
    The result is distributed like that of `torch.multinomial`, whose checks wait for
    the device.
    """
    probabilities = (logits.float() / sampling.temperature).softmax(dim=-1)
    ordered, ids = probabilities.sort(descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    ordered = ordered.masked_fill(before >= sampling.top_p, 0.0)
    drawn = (ordered / torch.empty_like(ordered).exponential_()).argmax(keepdim=True)
    return ids.gather(0, drawn)[0]
