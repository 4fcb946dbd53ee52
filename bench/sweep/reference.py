"""Pages as pdftoppm and ImageMagick draw them."""

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
"""Longest side of what the programs draw, in pixels."""
TIMEOUT_SECONDS = 60.0


class NoReferenceError(Exception):
    """The other renderer gave no page; the message says why."""


class Renderer(Protocol):
    """Another program that draws pages."""

    def draws(self, media_type: str) -> bool:
        """Return True for a type of document that it can draw."""
        ...

    def render(self, path: Path, media_type: str, page: int) -> Image.Image:
        """Return a page, counted from 1, in gray on white.

        Raises NoReferenceError if it cannot be drawn.
        """
        ...


def find_renderers() -> list[Renderer]:
    """Return the renderers that are installed."""
    found: list[Renderer] = []
    if program := shutil.which("pdftoppm"):
        found.append(Pdftoppm(program))
    if program := shutil.which("magick") or shutil.which("convert"):
        found.append(ImageMagick(program))
    return found


class Pdftoppm:
    """Poppler, for PDFs."""

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
    """ImageMagick, for images."""

    def __init__(self, program: str = "convert") -> None:
        self._program = program

    def draws(self, media_type: str) -> bool:
        return media_type.startswith("image/")

    def render(self, path: Path, media_type: str, page: int) -> Image.Image:
        # The first frame of a GIF may be smaller than the image.
        is_gif = media_type == "image/gif"
        on_white = ["-flatten"] if is_gif else ["-alpha", "remove", "-alpha", "off"]
        # Truevision's format has no signature.
        prefix = "tga:" if path.suffix.lower() == ".tga" else ""
        return _run(
            [
                *(self._program, "-quiet"),
                *("-limit", "memory", "2GiB", "-limit", "map", "2GiB"),
                f"{prefix}-[{page - 1}]",
                *("-auto-orient", "-background", "white", *on_white),
                # In color, because ImageMagick has other weights for gray than Pillow.
                *("-colorspace", "sRGB", "-resize", f"{SIDE}x{SIDE}"),
                *("-depth", "8", "ppm:-"),
            ],
            path,
        )


def _run(command: Sequence[str], document: Path | None = None) -> Image.Image:
    """Run a program that writes a PPM; it reads the document as standard input."""
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
        # A program that complains has often drawn a part of the page only.
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise NoReferenceError(f"{Path(command[0]).name}: {' '.join(words[-1:])}")
    return image
