"""Documents of one line of text, which begin as documents of their type do."""

from __future__ import annotations

from pathlib import PurePosixPath

PDF = b"%PDF-1.7\n"
PNG = b"\x89PNG\r\n\x1a\n"


def beginning(name: str) -> bytes:
    """The first bytes of a document that is called so; none for other files."""
    kind = PurePosixPath(name).suffix.lower()
    return {".pdf": PDF, ".png": PNG}.get(kind, b"")


def text_of(content: bytes) -> bytes:
    """The line behind the first bytes."""
    return content.removeprefix(PDF).removeprefix(PNG)
