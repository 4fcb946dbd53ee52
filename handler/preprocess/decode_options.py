"""Request options that affect decoding."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["DecodeOptions"]


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """Options for opening a document and for preparing its pages."""

    password: str | None = field(default=None, repr=False)
    """Password of an encrypted PDF. It is never logged."""
    detect_rotation: bool = True
    """True to detect pages whose text is not upright and rotate them."""
