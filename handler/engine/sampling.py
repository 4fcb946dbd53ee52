"""How a token is drawn from what the model thinks of each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GREEDY", "Sampling", "sampling_at"]

TOP_P = 0.95
"""The top-p of chandra-ocr's sampled attempts."""
MIN_TEMPERATURE = 0.01
"""Below it, logits divided by the temperature may overflow, and the likeliest token is
nearly always drawn anyway."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Temperature 0 takes the likeliest token and draws nothing."""

    temperature: float = 0.0
    top_p: float = 1.0
    """Drawn from the fewest tokens that together are as probable as this."""


GREEDY = Sampling()


def sampling_at(temperature: float) -> Sampling:
    """Return the sampling of a temperature that a request asks for."""
    if temperature < MIN_TEMPERATURE:
        return GREEDY
    return Sampling(temperature, TOP_P)
