"""Calculation of the size at which a page is rendered and of the model's input size.

The chandra-ocr releases resize a page up to three times before the model receives it.
The functions here compose these rules into one size, so that a page is resampled once.
They keep the roundings of chandra-ocr, because the weights were trained with them.
"""

from __future__ import annotations

import math

from handler.errors import UnreadableDocumentError
from handler.profiles import Sizing

__all__ = [
    "Size",
    "check_aspect",
    "image_scale",
    "pdf_full_scale",
    "pdf_render_scale",
    "pdf_render_size",
    "pdf_target_size",
    "target_size",
]

POINTS_PER_INCH = 72
# The bounds of Qwen3-VL's image processor, from preprocessor_config.json and
# smart_resize.
MIN_MODEL_PIXELS = 65_536
MAX_MODEL_PIXELS = 16_777_216
MAX_ASPECT = 200
"""Largest ratio of a page's long side to its short side; longer pages are rejected.

Qwen's smart_resize rejects them too, but after roundings that depend on the profile.
Here the unrounded sides of the page decide, so that all profiles agree."""
_MAX_FORMATTED_ASPECT = 1_000_000

Size = tuple[int, int]
"""Width and height in pixels."""


def target_size(width: int, height: int, sizing: Sizing) -> Size:
    """Return the model's input size for an upright image of `width` x `height`.

    Raises UnreadableDocumentError for an image that is too long.
    """
    check_aspect(width, height)
    if min(width, height) < sizing.min_image_side:
        scale = image_scale(width, height, sizing)
        width, height = int(width * scale), int(height * scale)
    return _fit_model_input(width, height, sizing)


def image_scale(width: int, height: int, sizing: Sizing) -> float:
    """Return the factor by which a small image is enlarged, 1 or more.

    The bounds on the area are applied after it.
    """
    return max(1.0, sizing.min_image_side / min(width, height))


def check_aspect(width: float, height: float) -> None:
    """Reject a page that is too long for the model, before it is decoded or rendered.

    The sides are in pixels or points, and their order does not matter. Raises
    UnreadableDocumentError with the ratio of the sides.
    """
    aspect = max(width, height) / min(width, height)
    if aspect > MAX_ASPECT:
        raise UnreadableDocumentError(
            f"the page is {_format_aspect(aspect)} times as long as it is wide; "
            f"the limit is {MAX_ASPECT} times"
        )


def _format_aspect(aspect: float) -> str:
    """Format a ratio, rounded up to one decimal.

    Rounding to the nearest value could print a ratio above the limit as the limit.
    """
    if aspect > _MAX_FORMATTED_ASPECT:
        return f"more than {_MAX_FORMATTED_ASPECT:,}"
    return f"{math.ceil(aspect * 10) / 10:,.1f}".removesuffix(".0")


def pdf_render_scale(width: float, height: float, sizing: Sizing) -> float:
    """Return the pixels per point for rendering a page of `width` x `height` points.

    The resolution is that of chandra-ocr, reduced where the bitmap would be larger than
    the model's largest input: a PDF page may be kilometres long.
    """
    scale = pdf_full_scale(width, height, sizing)
    scale = min(scale, math.sqrt(sizing.max_pixels / width / height))
    if sizing.max_side is not None:
        scale = min(scale, sizing.max_side / max(width, height))
    return scale


def pdf_render_size(width: float, height: float, sizing: Sizing) -> Size:
    """Return the size in pixels of a rendered PDF page of `width` x `height` points."""
    scale = pdf_render_scale(width, height, sizing)
    return math.ceil(width * scale), math.ceil(height * scale)


def pdf_target_size(width: float, height: float, sizing: Sizing) -> Size:
    """Return the model's input size for a PDF page of `width` x `height` points.

    It is derived from the size at which chandra-ocr renders, not from the size at which
    this package does. Otherwise one large page in fifty would be a patch wider or
    narrower. Raises UnreadableDocumentError for a page that is too long.
    """
    check_aspect(width, height)
    scale = pdf_full_scale(width, height, sizing)
    return _fit_model_input(math.ceil(width * scale), math.ceil(height * scale), sizing)


def pdf_full_scale(width: float, height: float, sizing: Sizing) -> float:
    """Return the pixels per point at which chandra-ocr renders a page of any size."""
    legible_dpi = sizing.min_pdf_side / min(width, height) * POINTS_PER_INCH
    return max(sizing.pdf_dpi, legible_dpi) / POINTS_PER_INCH


def _fit_model_input(width: int, height: int, sizing: Sizing) -> Size:
    """Return the model's input size for an image that is large enough to be legible."""
    if sizing.max_side is not None and max(width, height) > sizing.max_side:
        scale = sizing.max_side / max(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    if sizing.area_grid == 1:
        width, height = _fit_area(width, height, sizing)
    else:
        width, height = _fit_area_on_grid(width, height, sizing)
    return _round_to_patches(width, height, sizing.patch_grid)


def _fit_area(width: int, height: int, sizing: Sizing) -> Size:
    """Bound the area as chandra-ocr 0.1 does.

    An image whose area is within the bounds keeps its size.
    """
    area = width * height
    if area > sizing.max_pixels:
        scale = (sizing.max_pixels / area) ** 0.5
        # chandra-ocr rounds down to 0 here and fails.
        return max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
    if area < sizing.min_pixels:
        scale = (sizing.min_pixels / area) ** 0.5
        return math.ceil(width * scale), math.ceil(height * scale)
    return width, height


def _fit_area_on_grid(width: int, height: int, sizing: Sizing) -> Size:
    """Round to whole grid cells within the bounds on the area, as chandra-ocr 0.2."""
    grid = sizing.area_grid
    area = width * height
    bounded = min(max(area, sizing.min_pixels), sizing.max_pixels)
    scale = (bounded / area) ** 0.5
    columns = max(1, round(width * scale / grid))
    rows = max(1, round(height * scale / grid))
    # Rounding may exceed the bound. Remove the column or the row whose removal changes
    # the aspect ratio less.
    max_cells = sizing.max_pixels // (grid * grid)
    while columns * rows > max_cells and min(columns, rows) > 1:
        without_column = (columns - 1) / rows
        without_row = columns / (rows - 1)
        if abs(without_column - width / height) < abs(without_row - width / height):
            columns -= 1
        else:
            rows -= 1
    # A single row or column may have billions of cells, so it is cut without a loop.
    return min(columns, max_cells) * grid, min(rows, max_cells) * grid


def _round_to_patches(width: int, height: int, grid: int) -> Size:
    """Round to multiples of the patch size within bounds, as Qwen's smart_resize."""
    columns, rows = max(1, round(width / grid)), max(1, round(height / grid))
    area = columns * rows * grid * grid
    if area > MAX_MODEL_PIXELS:
        scale = math.sqrt(width * height / MAX_MODEL_PIXELS)
        columns = max(1, math.floor(width / scale / grid))
        rows = max(1, math.floor(height / scale / grid))
    elif area < MIN_MODEL_PIXELS:
        scale = math.sqrt(MIN_MODEL_PIXELS / (width * height))
        columns = math.ceil(width * scale / grid)
        rows = math.ceil(height * scale / grid)
    # Rounding down the short side of a page at the limit can make it too long for Qwen.
    columns, rows = min(columns, MAX_ASPECT * rows), min(rows, MAX_ASPECT * columns)
    return columns * grid, rows * grid
