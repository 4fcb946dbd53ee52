"""How a token is drawn from what the model thinks of each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GREEDY", "Sampling"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Temperature 0 takes the likeliest token and draws nothing."""

    temperature: float = 0.0
    top_p: float = 1.0
    """Drawn from the fewest tokens that together are as probable as this."""


GREEDY = Sampling()
