"""What differs from one Chandra model to the next.

Prompt, box format and image sizes belong to the weights they were trained with,
so they change together or not at all.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PROFILES", "BboxFormat", "Profile", "Sizing"]


class BboxFormat(enum.Enum):
    """How a model writes the box of a block."""

    JSON_1024 = "json_1024"
    """`[x0, y0, x1, y1]`, each 0-1024 of the page's width or height."""
    SPACED_1000 = "spaced_1000"
    """`x0 y0 x1 y1`, each 0-1000 of the page's width or height."""

    @property
    def scale(self) -> int:
        return 1024 if self is BboxFormat.JSON_1024 else 1000


@dataclass(frozen=True, slots=True)
class Sizing:
    """How large a page is when the model sees it.

    Sizes are pixels. A PDF page is rendered at `pdf_dpi`, or finer so that its
    short side has at least `min_pdf_side`; an image is enlarged until both sides
    have `min_image_side`. Then the page is brought to an area between
    `min_pixels` and `max_pixels`, to multiples of `area_grid` where one is given,
    and at last to the grid of `patch_grid`, which the vision encoder needs.
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
    """Cap on the long side, after everything else; None: no cap."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One model line: its weights, its prompts, its answers."""

    name: str
    model_type: str
    prompt_package: str
    """The chandra-ocr release whose prompts these weights were trained with."""
    bbox_format: BboxFormat
    sizing: Sizing
    max_output_tokens: int
    stop_tokens: tuple[str, ...] = ("<|im_end|>", "<|endoftext|>")


# Estimates, not measured: a line of 10 points, which is 24 pixels high at chandra-ocr's
# 192 dpi, and half of it, which is an x-height of 6 pixels and 5 points on A4.
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

# chandra-ocr 0.2.0 snaps to 28 pixels first: every page is measured twice.
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

# Ours: small, so that a page takes seconds on a laptop's processor, and no larger
# than the pages it was trained on. With lines of 23 pixels 2 % of the characters are
# wrong, with 19 pixels 12 %, with 16 pixels 28 % (5 pages of `mini.pages`, shrunk).
# `line_height.py` measures 17 pixels for lines of few words that are 23 pixels high,
# because most of its columns have no ascenders and descenders of theirs.
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
