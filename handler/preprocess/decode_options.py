"""What a request asks of the decoders."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["DecodeOptions"]


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How to open a document and what to do with its pages."""

    password: str | None = field(default=None, repr=False)
    """For an encrypted PDF. Never logged."""
    detect_rotation: bool = True
    """True to turn pages so that their text is upright."""
