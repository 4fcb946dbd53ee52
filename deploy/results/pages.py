"""Pages of a document: their number, and their pictures for a report."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.documents.rejection import detect_supported_type
from deploy.documents.signatures import PDF
from deploy.errors import ConfigError

__all__ = ["num_pages_of", "render_pages"]

# At this size small print is readable, and browsers open a report of 100 pages.
LONG_SIDE = 1600
QUALITY = 80


def num_pages_of(path: Path, password: str | None = None) -> int | None:
    """Return the pages of a PDF or the frames of an image.

    Returns None if the file cannot be opened, in which case the service reports what
    is wrong with it, and if pillow or pypdfium2 is not installed.
    """
    try:
        import PIL.Image
        import pypdfium2
    except ImportError:
        return None
    broken = (pypdfium2.PdfiumError, PIL.Image.DecompressionBombError)
    try:
        if _is_pdf(path):
            with pypdfium2.PdfDocument(path, password) as document:
                return len(document)
        with PIL.Image.open(path) as image:
            return int(getattr(image, "n_frames", 1))
    except (OSError, ValueError, *broken):
        return None


def render_pages(
    path: Path, numbers: Sequence[int], password: str | None = None
) -> dict[int, bytes]:
    """Draw pages of a PDF or an image, and return JPEG files by page number.

    Numbers start at 1, and pages that do not exist are left out. The long side has at
    most 1,600 pixels. Raises ConfigError if pypdfium2 or pillow is not installed, or if
    the file cannot be drawn.
    """
    try:
        import PIL.Image
        import pypdfium2
    except ImportError as error:
        raise ConfigError(
            "--format report draws pages with pypdfium2 and pillow",
            hint="pip install pypdfium2 pillow",
        ) from error
    try:
        if _is_pdf(path):
            return _from_pdf(pypdfium2, path, numbers, password)
        return _from_image(PIL.Image, path, numbers)
    except (OSError, pypdfium2.PdfiumError, PIL.Image.DecompressionBombError) as error:
        raise ConfigError(
            f"{path} cannot be drawn: {error}",
            hint="chandra-sagemaker invoke FILE --format html, which draws nothing",
        ) from error


def _is_pdf(path: Path) -> bool:
    return detect_supported_type(path) == PDF


def _from_pdf(
    pdfium: Any, path: Path, numbers: Sequence[int], password: str | None
) -> dict[int, bytes]:
    """Render the pages with these numbers, as far as they exist."""
    pictures = {}
    with pdfium.PdfDocument(path, password) as document:
        # Forms are drawn only if they are initialised before the first page is loaded.
        document.init_forms()
        for number in numbers:
            if 1 <= number <= len(document):
                page = document[number - 1]
                scale = LONG_SIDE / max(page.get_size())
                pictures[number] = _jpeg(page.render(scale=scale).to_pil())
    return pictures


def _from_image(image: Any, path: Path, numbers: Sequence[int]) -> dict[int, bytes]:
    """Return the frames with these numbers, turned upright by their EXIF data."""
    from PIL import ImageOps, ImageSequence

    with image.open(path) as opened:
        return {
            number: _jpeg(ImageOps.exif_transpose(frame))
            for number, frame in enumerate(ImageSequence.Iterator(opened), start=1)
            if number in numbers
        }


def _jpeg(picture: Any) -> bytes:
    """Return a picture as JPEG; white replaces what is transparent in it."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        from PIL import Image

        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture.convert("RGBA"))
    picture = picture.convert("RGB")
    picture.thumbnail((LONG_SIDE, LONG_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
