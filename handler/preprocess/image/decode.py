"""Decoding of an image to upright RGB pixels on an opaque background."""

from __future__ import annotations

from dataclasses import dataclass
from mmap import mmap
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from handler.preprocess.image.damage import (
    LoadedImage,
    load_intact_part,
    open_ignoring_checksums,
    truncation_warning,
)
from handler.preprocess.image.formats import import_all, open_header
from handler.preprocess.image.samples import choose_scale, find_extrema, scale_image
from handler.preprocess.image.transparency import compose_on_background
from handler.preprocess.limits import Limits
from handler.schema import PageWarning

__all__ = ["DecodedImage", "decode", "import_all", "open_image"]

_WHITE = (255, 255, 255)
_BAND_ROWS = 512

# Transposition of an image for each EXIF orientation. ImageOps.exif_transpose is not
# used, because it rewrites the EXIF data and fails if they are malformed.
_TRANSPOSITIONS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS_ORIENTATIONS = frozenset({5, 6, 7, 8})


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An upright RGB image."""

    image: Image.Image
    """The pixels, at half the width and height if the file's image is very large."""
    width: int
    height: int
    """Size in pixels of the file's image when it is upright."""
    warnings: tuple[PageWarning, ...] = ()


def open_image(
    subject: str, data: mmap, media_type: str, limits: Limits
) -> Image.Image:
    """Open an image and parse its header. No pixels are decoded.

    `subject` names the image in errors. Raises DocumentTooLargeError above the pixel
    limit, UnreadableDocumentError for an empty image, and the decoder's errors.
    """
    file = cast("IO[bytes]", data)  # mmap has the methods that Pillow calls
    return open_ignoring_checksums(
        lambda file: open_header(subject, file, media_type, limits), file
    )


def decode(
    image: Image.Image, subject: str, data: mmap, media_type: str, limits: Limits
) -> DecodedImage:
    """Decode `image`, which `open_image` returned, to upright RGB pixels.

    The decoder may change `image`. A very large image is decoded at half its width and
    height. If a part of the image is missing it is white, and the result has a warning.
    Raises the decoder's error if no pixel can be decoded.
    """
    width, height = image.size
    uncovered_boxes = _find_uncovered_boxes(image)

    def reopen(file: IO[bytes]) -> Image.Image:
        opened = open_header(subject, file, media_type, limits)
        _request_half_size(opened, limits)
        return opened

    _request_half_size(image, limits)
    loaded = load_intact_part(image, lambda: data[:], reopen)
    # The size of some images is known only after decoding.
    if loaded.image.width > width or loaded.image.height > height:
        width, height = loaded.image.size
    warnings = truncation_warning(loaded)
    picture = _compose_page(loaded, uncovered_boxes, limits)
    orientation = _read_orientation(loaded.image)
    transposition = _TRANSPOSITIONS.get(orientation)
    if transposition is not None:
        picture = picture.transpose(transposition)
    if orientation in _SIDEWAYS_ORIENTATIONS:
        width, height = height, width
    return DecodedImage(picture, width, height, warnings)


def _is_very_large(image: Image.Image, limits: Limits) -> bool:
    return image.width * image.height > limits.max_full_pixels


def _request_half_size(image: Image.Image, limits: Limits) -> None:
    """Configure the decoder of a very large JPEG or JPEG 2000 to halve its size.

    Other images are left as they are.
    """
    if not _is_very_large(image, limits):
        return
    if image.format in ("JPEG", "MPO"):
        image.draft(None, (image.width // 2, image.height // 2))
    elif image.format == "JPEG2000":
        image.reduce = 1  # type: ignore[method-assign, assignment]


def _find_uncovered_boxes(image: Image.Image) -> list[tuple[int, int, int, int]]:
    """Return the boxes of a GIF's canvas that its first frame does not cover."""
    tiles = getattr(image, "tile", None)
    if image.format != "GIF" or not tiles or "transparency" in image.info:
        return []
    width, height = image.size
    left, top, right, bottom = tiles[0].extents
    boxes = (
        (0, 0, width, top),
        (0, bottom, width, height),
        (0, top, left, bottom),
        (right, top, width, bottom),
    )
    return [box for box in boxes if box[0] < box[2] and box[1] < box[3]]


def _compose_page(
    loaded: LoadedImage,
    uncovered_boxes: list[tuple[int, int, int, int]],
    limits: Limits,
) -> Image.Image:
    """Return the decoded pixels in RGB on an opaque background."""
    image, missing = loaded.image, loaded.missing
    if _is_very_large(image, limits):
        if missing is not None:
            missing = missing.reduce(2)
        uncovered_boxes = [
            (a // 2, b // 2, -(-c // 2), -(-d // 2)) for a, b, c, d in uncovered_boxes
        ]
        image = _halve(image)
    page = _to_rgb(image)
    if page.mode == "RGBA":
        page = compose_on_background(page)
    elif page is image and (uncovered_boxes or missing):
        page = page.copy()
    for box in uncovered_boxes:
        page.paste(_WHITE, box)
    if missing is not None:
        page.paste(_WHITE, mask=missing)
    return page


def _halve(image: Image.Image) -> Image.Image:
    """Halve width and height, in horizontal bands to limit the memory."""
    if image.mode.startswith("I"):
        small = image.convert("I").reduce(2)
        small.format = image.format
        return small
    width, height = image.size
    halved: Image.Image | None = None
    for top in range(0, height, _BAND_ROWS):
        band = image.crop((0, top, width, min(top + _BAND_ROWS, height)))
        is_bilevel = band.mode == "1" and "transparency" not in band.info
        band = (band.convert("L") if is_bilevel else _to_rgb(band)).reduce(2)
        if halved is None:
            halved = Image.new(band.mode, (-(-width // 2), -(-height // 2)))
        halved.paste(band, (0, top // 2))
    assert halved is not None
    return halved


def _read_orientation(image: Image.Image) -> object:
    """Return the EXIF orientation, normally 1 to 8; None if it is missing."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    # Catch every exception: damaged EXIF data must not make an intact image fail.
    except Exception:
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB, or to RGBA if it has transparency."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _scale_16_bits(image)
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("RGB")


def _scale_16_bits(image: Image.Image) -> Image.Image:
    """Convert an image of 16-bit samples to RGB, scaled by the number of bits in use.

    Pillow keeps 16 bits for gray JPEG 2000 and plain PNM.
    """
    samples = np.asarray(image)[..., None]

    def rows(start: int, stop: int) -> NDArray[Any]:
        words: NDArray[Any] = np.clip(samples[start:stop], 0, 65_535)
        return words.astype(np.uint16, copy=False)

    scale = choose_scale(find_extrema(rows, image.size, 1), np.dtype(np.uint16), 16)
    return scale_image(rows, "L", image.size, scale).convert("RGB")
