"""Fake documents: the first bytes of a file type, and a line of text."""

from __future__ import annotations

from pathlib import PurePosixPath

PDF = b"%PDF-1.7\n"
PNG = b"\x89PNG\r\n\x1a\n"


def beginning(name: str) -> bytes:
    """Return the first bytes of a document with this name; empty for other types."""
    kind = PurePosixPath(name).suffix.lower()
    return {".pdf": PDF, ".png": PNG}.get(kind, b"")


def text_of(content: bytes) -> bytes:
    """Return the line of text after the first bytes."""
    return content.removeprefix(PDF).removeprefix(PNG)
