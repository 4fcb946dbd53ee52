"""How large a page is drawn, and how large the model sees it.

Numbers only. The chandra-ocr releases resize a page up to three times on its way
to the model. Here their rules are composed into one size, so that a page is
resampled once; roundings are theirs, because the weights were trained with them.
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
# Of Qwen3-VL's image processor: preprocessor_config.json, and smart_resize.
MIN_MODEL_PIXELS = 65_536
MAX_MODEL_PIXELS = 16_777_216
MAX_ASPECT = 200
"""A page that is longer than this many times its width is rejected.

Qwen's smart_resize rejects them too, but after roundings that differ with the
profile; here the page's own sides decide, so that all profiles agree."""
_MAX_READABLE_ASPECT = 1_000_000

Size = tuple[int, int]
"""Width and height in pixels."""


def target_size(width: int, height: int, sizing: Sizing) -> Size:
    """The size at which the model sees an upright image of `width` x `height`."""
    check_aspect(width, height)
    if min(width, height) < sizing.min_image_side:
        scale = image_scale(width, height, sizing)
        width, height = int(width * scale), int(height * scale)
    return _model_size(width, height, sizing)


def image_scale(width: int, height: int, sizing: Sizing) -> float:
    """Return how far an image is enlarged before its area is bounded: 1 or more."""
    return max(1.0, sizing.min_image_side / min(width, height))


def check_aspect(width: float, height: float) -> None:
    """Reject a page that is too long for the model, before it is decoded or drawn.

    Only the page's own sides count, in pixels or points, whichever way it is turned.
    Raises UnreadableDocumentError, which names their ratio.
    """
    aspect = max(width, height) / min(width, height)
    if aspect > MAX_ASPECT:
        raise UnreadableDocumentError(
            f"the page is {_readable_aspect(aspect)} times as long as it is wide; "
            f"pages up to {MAX_ASPECT} times are read"
        )


def _readable_aspect(aspect: float) -> str:
    """Round a ratio up to one decimal, so that it does not look like the limit."""
    if aspect > _MAX_READABLE_ASPECT:
        return f"more than {_MAX_READABLE_ASPECT:,}"
    return f"{math.ceil(aspect * 10) / 10:,.1f}".removesuffix(".0")


def pdf_render_scale(width: float, height: float, sizing: Sizing) -> float:
    """Pixels per point at which a PDF page of `width` x `height` points is drawn.

    As fine as chandra-ocr draws it, but never larger than what the model may see:
    there are pages of kilometres.
    """
    scale = pdf_full_scale(width, height, sizing)
    scale = min(scale, math.sqrt(sizing.max_pixels / width / height))
    if sizing.max_side is not None:
        scale = min(scale, sizing.max_side / max(width, height))
    return scale


def pdf_render_size(width: float, height: float, sizing: Sizing) -> Size:
    """The size in pixels of a drawn PDF page of `width` x `height` points."""
    scale = pdf_render_scale(width, height, sizing)
    return math.ceil(width * scale), math.ceil(height * scale)


def pdf_target_size(width: float, height: float, sizing: Sizing) -> Size:
    """The size at which the model sees a PDF page of `width` x `height` points.

    From the size chandra-ocr draws, not from ours: one large page in fifty would
    come out a patch wider or narrower.
    """
    check_aspect(width, height)
    scale = pdf_full_scale(width, height, sizing)
    return _model_size(math.ceil(width * scale), math.ceil(height * scale), sizing)


def pdf_full_scale(width: float, height: float, sizing: Sizing) -> float:
    """Return the pixels per point at which chandra-ocr draws a page of any size."""
    legible_dpi = sizing.min_pdf_side / min(width, height) * POINTS_PER_INCH
    return max(sizing.pdf_dpi, legible_dpi) / POINTS_PER_INCH


def _model_size(width: int, height: int, sizing: Sizing) -> Size:
    if sizing.max_side is not None and max(width, height) > sizing.max_side:
        scale = sizing.max_side / max(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    if sizing.area_grid == 1:
        width, height = _within_area(width, height, sizing)
    else:
        width, height = _within_area_on_grid(width, height, sizing)
    return _on_patch_grid(width, height, sizing.patch_grid)


def _within_area(width: int, height: int, sizing: Sizing) -> Size:
    """As chandra-ocr 0.1: a picture whose area is within bounds stays as it is."""
    area = width * height
    if area > sizing.max_pixels:
        scale = (sizing.max_pixels / area) ** 0.5
        # Not below 1, where chandra-ocr fails on a picture of no width.
        return max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
    if area < sizing.min_pixels:
        scale = (sizing.min_pixels / area) ** 0.5
        return math.ceil(width * scale), math.ceil(height * scale)
    return width, height


def _within_area_on_grid(width: int, height: int, sizing: Sizing) -> Size:
    """As chandra-ocr 0.2: whole cells of the grid, as many as the bounds allow."""
    grid = sizing.area_grid
    area = width * height
    bounded = min(max(area, sizing.min_pixels), sizing.max_pixels)
    scale = (bounded / area) ** 0.5
    columns = max(1, round(width * scale / grid))
    rows = max(1, round(height * scale / grid))
    # Rounding may have gone over: give up the column or the row whose loss changes
    # the shape less.
    max_cells = sizing.max_pixels // (grid * grid)
    while columns * rows > max_cells and min(columns, rows) > 1:
        without_column = (columns - 1) / rows
        without_row = columns / (rows - 1)
        if abs(without_column - width / height) < abs(without_row - width / height):
            columns -= 1
        else:
            rows -= 1
    # A single row or column is cut at once to what fits: it may have billions.
    return min(columns, max_cells) * grid, min(rows, max_cells) * grid


def _on_patch_grid(width: int, height: int, grid: int) -> Size:
    """As Qwen's smart_resize: the nearest multiples of the grid, within its area."""
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
    # Rounding a short side down can make a page at the limit too long for Qwen.
    columns, rows = min(columns, MAX_ASPECT * rows), min(rows, MAX_ASPECT * columns)
    return columns * grid, rows * grid
