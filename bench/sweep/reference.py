"""Reference renderers: pdftoppm and ImageMagick."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

__all__ = ["ImageMagick", "NoReferenceError", "Pdftoppm", "Renderer", "find_renderers"]

SIDE = 768
"""Longest side of rendered pages in pixels."""
TIMEOUT_SECONDS = 60.0


class NoReferenceError(Exception):
    """A reference page could not be rendered; the message gives the reason."""


class Renderer(Protocol):
    """External program that renders pages."""

    def draws(self, media_type: str) -> bool:
        """Return True if it supports the type of document."""
        ...

    def render(self, path: Path, media_type: str, page: int) -> Image.Image:
        """Return a page, counted from 1, in gray on white.

        Raise NoReferenceError if it cannot be rendered.
        """
        ...


def find_renderers() -> list[Renderer]:
    """Return the renderers that are installed."""
    installed: list[Renderer] = []
    if program := shutil.which("pdftoppm"):
        installed.append(Pdftoppm(program))
    if program := shutil.which("magick") or shutil.which("convert"):
        installed.append(ImageMagick(program))
    return installed


class Pdftoppm:
    """Poppler's renderer for PDFs."""

    def __init__(self, program: str = "pdftoppm") -> None:
        self._program = program

    def draws(self, media_type: str) -> bool:
        return media_type == "application/pdf"

    def render(self, path: Path, media_type: str, page: int) -> Image.Image:
        number = str(page)
        return _run(
            [
                *(self._program, "-cropbox", "-singlefile"),
                *("-f", number, "-l", number, "-scale-to", str(SIDE)),
                str(path),
            ]
        )


class ImageMagick:
    """ImageMagick as renderer for images."""

    def __init__(self, program: str = "convert") -> None:
        self._program = program

    def draws(self, media_type: str) -> bool:
        return media_type.startswith("image/")

    def render(self, path: Path, media_type: str, page: int) -> Image.Image:
        # The first frame of a GIF may be smaller than the image.
        is_gif = media_type == "image/gif"
        on_white = ["-flatten"] if is_gif else ["-alpha", "remove", "-alpha", "off"]
        # TGA files have no signature, so ImageMagick must be told the format.
        prefix = "tga:" if path.suffix.lower() == ".tga" else ""
        return _run(
            [
                *(self._program, "-quiet"),
                *("-limit", "memory", "2GiB", "-limit", "map", "2GiB"),
                f"{prefix}-[{page - 1}]",
                *("-auto-orient", "-background", "white", *on_white),
                # Render in color, because ImageMagick converts to gray differently.
                *("-colorspace", "sRGB", "-resize", f"{SIDE}x{SIDE}"),
                *("-depth", "8", "ppm:-"),
            ],
            path,
        )


def _run(command: Sequence[str], document: Path | None = None) -> Image.Image:
    """Run a program that reads the document from stdin and writes a PPM."""
    try:
        done = subprocess.run(
            command,
            input=b"" if document is None else document.read_bytes(),
            capture_output=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
        image = Image.open(io.BytesIO(done.stdout)).convert("L")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoReferenceError(f"{Path(command[0]).name}: {error}") from error
    if done.returncode != 0:
        # A program that prints warnings has often rendered only part of the page.
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise NoReferenceError(f"{Path(command[0]).name}: {' '.join(words[-1:])}")
    return image
