"""Profiles of the supported Chandra models.

Weights are trained with one set of prompts, one box format and certain image sizes.
These values therefore change together, as one profile.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PROFILES", "BboxFormat", "Profile", "Sizing"]


class BboxFormat(enum.Enum):
    """Notation that a model uses for the box of a block."""

    JSON_1024 = "json_1024"
    """`[x0, y0, x1, y1]`, each 0-1024 of the page's width or height."""
    SPACED_1000 = "spaced_1000"
    """`x0 y0 x1 y1`, each 0-1000 of the page's width or height."""

    @property
    def scale(self) -> int:
        return 1024 if self is BboxFormat.JSON_1024 else 1000


@dataclass(frozen=True, slots=True)
class Sizing:
    """Rules for the size of the image that the model gets of a page.

    Sizes are pixels. A PDF page is rendered at `pdf_dpi`, or finer so that its
    short side has at least `min_pdf_side`; an image is enlarged until both sides
    have `min_image_side`. The page is then scaled to an area between `min_pixels` and
    `max_pixels`, with sides that are multiples of `area_grid`. Finally the sides are
    rounded to multiples of `patch_grid`, which the vision encoder needs.
    """

    pdf_dpi: int
    min_pdf_side: int
    min_image_side: int
    min_pixels: int
    max_pixels: int
    line_pixels: int
    """Height of a text line, from ascender to descender, on pages like those that the
    weights were trained with."""
    min_line_pixels: int
    """Height below which a text line is not legible."""
    area_grid: int = 1
    patch_grid: int = 32
    max_side: int | None = None
    """Limit for the long side, applied last; None: no limit."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Model architecture, prompts, output format and image sizes of one model line."""

    name: str
    model_type: str
    prompt_package: str
    """chandra-ocr release whose prompts these weights were trained with."""
    bbox_format: BboxFormat
    sizing: Sizing
    max_output_tokens: int
    stop_tokens: tuple[str, ...] = ("<|im_end|>", "<|endoftext|>")


# These are estimates, not measurements. A line of 10 points is 24 pixels high at
# chandra-ocr's 192 dpi. Half of that is an x-height of 6 pixels, or 5 points on A4.
_CHANDRA_LINE_PIXELS = 24
_CHANDRA_MIN_LINE_PIXELS = 12

# chandra-ocr 0.1.8: input.load_image, input.load_pdf_images, model.util.scale_to_fit
# and settings. The last step is the Qwen3-VL image processor's.
_CHANDRA_1 = Sizing(
    pdf_dpi=192,
    min_pdf_side=1024,
    min_image_side=1536,
    min_pixels=28 * 28,
    max_pixels=3072 * 2048,
    line_pixels=_CHANDRA_LINE_PIXELS,
    min_line_pixels=_CHANDRA_MIN_LINE_PIXELS,
)

# chandra-ocr 0.2.0 first rounds the sides to multiples of 28 pixels.
_CHANDRA_2 = Sizing(
    pdf_dpi=192,
    min_pdf_side=1024,
    min_image_side=1536,
    min_pixels=1792 * 28,
    max_pixels=3072 * 2048,
    line_pixels=_CHANDRA_LINE_PIXELS,
    min_line_pixels=_CHANDRA_MIN_LINE_PIXELS,
    area_grid=28,
)

# The sizes of our small model: a page takes seconds on a laptop's processor, and is no
# larger than the training pages. Of the characters, 2 % are wrong with lines of 23
# pixels, 12 % with 19 pixels and 28 % with 16 pixels (5 pages of `mini.pages`, shrunk).
# For lines of few words that are 23 pixels high, `line_height.py` measures 17 pixels,
# because most pixel columns of such lines have no ascender or descender.
_MINI = Sizing(
    pdf_dpi=96,
    min_pdf_side=512,
    min_image_side=256,
    min_pixels=256 * 256,
    max_pixels=512 * 720,
    line_pixels=24,
    min_line_pixels=15,
)

PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="chandra",
            model_type="qwen3_vl",
            prompt_package="0.1.8",
            bbox_format=BboxFormat.JSON_1024,
            sizing=_CHANDRA_1,
            max_output_tokens=8192,
        ),
        Profile(
            name="chandra-2",
            model_type="qwen3_5",
            prompt_package="0.2.0",
            bbox_format=BboxFormat.SPACED_1000,
            sizing=_CHANDRA_2,
            max_output_tokens=12384,
        ),
        Profile(
            name="mini",
            model_type="qwen3_vl",
            prompt_package="0.1.8",
            bbox_format=BboxFormat.JSON_1024,
            sizing=_MINI,
            max_output_tokens=1024,
        ),
    )
}
