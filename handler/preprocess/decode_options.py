"""Options of a request that the decoders carry out."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["DecodeOptions"]


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """Options for opening a document and for preparing its pages."""

    password: str | None = field(default=None, repr=False)
    """For an encrypted PDF. Never logged."""
    detect_rotation: bool = True
    """True to turn pages so that their text is upright."""
