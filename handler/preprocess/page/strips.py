"""Divide a long page into strips in which its text is legible.

A page whose long side is many times its short side is shrunk to the model's number of
pixels until nobody can read it. In strips it keeps its size. A strip ends in a gap
between lines where there is one; otherwise it overlaps the next by several lines, so
that each line is whole in at least one of them.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from handler.preprocess.page.line_height import Ink
from handler.preprocess.sizing import Size
from handler.profiles import Sizing
from handler.schema import MAX_STRIPS, PageWarning, Strip

__all__ = [
    "Division",
    "PartSize",
    "chunk_boxes",
    "divide",
    "is_long",
    "needs_examination",
    "reduced_warning",
    "window_boxes",
]

MIN_REDUCTION = 0.7
"""Pages that keep more of their size than this are not examined. A page of A4 that is
scanned at 300 dpi keeps 0.85 with Chandra."""
UNKNOWN_REDUCTION = 0.25
"""A page whose lines could not be measured is suspected below this."""
MIN_STRIP_ASPECT = 2.0
"""Wider pages may have columns, which strips would cut: they are read as a whole."""
MAX_WHOLE_ASPECT = 16.0
"""Longer pages are read in strips however large their text is: an estimate, because
the weights were trained with none."""
_MAX_ASPECT = 8.0
_MIN_LINES = 4
"""Lines that a strip must have room for."""
_OVERLAP_LINES = 4
_GUTTER_LINES = 1.5
"""Width of the gap between columns of a wide page, in heights of a line."""
_FEW_LINES = 3
"""A wide page as high as these is one line of text, whose words may be parted."""
_SLACK = 0.25
"""Part of a strip's length by which it may be shorter or longer to end in a gap."""
_CHUNK_PIXELS = 2048
"""Length in page pixels of what is examined at once, which bounds the memory."""
_UNKNOWN_LINE = 24
"""Height of a line in pixels of the page where it could not be measured."""

PartSize = Callable[[int, int], Size]
"""Returns the size at which the model sees a part of a page of a width and a height."""


@dataclass(frozen=True, slots=True)
class Division:
    """The strips of a page that is reduced; without any, it is read as a whole."""

    strips: tuple[Strip, ...] = ()
    warnings: tuple[PageWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class _Cut:
    """The end of a strip, and the beginning of the next one, in page pixels."""

    end: int
    start: int
    is_continuation: bool


def needs_examination(width: int, height: int, natural: float, size: Size) -> bool:
    """Return True for a page that is reduced so far that its text may be illegible.

    `size` is how large the model would see the page of `width` x `height` pixels, and
    `natural` is the scale at which it would see a smaller page of the same kind.
    """
    seen = _scale(width, height, size)
    return seen < MIN_REDUCTION * natural or max(
        width, height
    ) > MAX_WHOLE_ASPECT * min(width, height)


def is_long(width: int, height: int) -> bool:
    """Return True for a page that can be divided: at least twice as long as wide."""
    return max(width, height) >= MIN_STRIP_ASPECT * min(width, height)


def chunk_boxes(
    width: int, height: int, step: int = 1
) -> Iterator[tuple[int, int, int, int]]:
    """Return the parts of a page to examine one by one, along its long side.

    Their length is a multiple of `step` page pixels, except for the last.
    """
    length = max(step, _CHUNK_PIXELS // step * step)
    if width > height:
        for left in range(0, width, length):
            yield left, 0, min(left + length, width), height
    else:
        for top in range(0, height, length):
            yield 0, top, width, min(top + length, height)


def window_boxes(
    width: int, height: int, side: int
) -> Iterator[tuple[int, int, int, int]]:
    """Return nine parts of a page, evenly spread, `side` page pixels wide and high."""
    for row in range(3):
        for column in range(3):
            left = max(0, round((2 * column + 1) * width / 6 - side / 2))
            top = max(0, round((2 * row + 1) * height / 6 - side / 2))
            yield left, top, min(left + side, width), min(top + side, height)


def reduced_warning(
    width: int,
    height: int,
    size: Size,
    sizing: Sizing,
    natural: float,
    line_height: float | None,
    is_drawn: bool = False,
) -> tuple[PageWarning, ...]:
    """Return a warning if the model sees the page's text at an illegible size.

    `is_drawn` is True for a page of a PDF, which could be drawn larger than
    `width` x `height` pixels.
    """
    seen = _scale(width, height, size)
    factor = seen / (natural if is_drawn else min(natural, 1.0))
    if factor >= MIN_REDUCTION:
        return ()
    if line_height is None:
        if factor >= UNKNOWN_REDUCTION:
            return ()
        detail = "the height of its text is not known"
    elif not _is_reduced_below(line_height, seen, natural, sizing):
        return ()
    else:
        detail = (
            f"its lines of text are about {line_height * seen:.0f} pixels high, "
            f"and {sizing.min_line_pixels} are legible"
        )
    return (
        PageWarning(
            "reduced", f"the page was reduced to {factor:.2g} of its size; {detail}"
        ),
    )


def divide(
    width: int,
    height: int,
    size: Size,
    sizing: Sizing,
    natural: float,
    ink: Ink,
    part_size: PartSize,
    is_drawn: bool = False,
) -> Division:
    """Divide a page of `width` x `height` pixels where that makes its text legible.

    `size` and `natural` are those of `needs_examination`, `is_drawn` is that of
    `reduced_warning`.
    """
    seen = _scale(width, height, size)
    warn = partial(
        reduced_warning,
        sizing=sizing,
        natural=natural,
        line_height=ink.line_height,
        is_drawn=is_drawn,
    )
    whole = Division((), warn(width, height, size))
    short, long = sorted((width, height))
    is_too_long = long > MAX_WHOLE_ASPECT * short
    if ink.line_height is None:
        if not is_too_long or not ink.may_have_ink(0, long):
            return whole
        line_height = float(min(short, _UNKNOWN_LINE))
    else:
        line_height = ink.line_height
        is_illegible = _is_reduced_below(line_height, seen, natural, sizing)
        if not is_too_long and (not is_illegible or not is_long(width, height)):
            return whole
    length = _strip_length(short, long, line_height, natural, sizing)
    if length >= long or length < _MIN_LINES * line_height:
        return whole
    is_wide = width > height
    needs_gutters = is_wide and short > _FEW_LINES * line_height
    cuts = _cuts(long, length, line_height, ink, needs_gutters)
    while cuts is not None and len(cuts) - 1 > MAX_STRIPS:
        length = math.ceil(1.2 * length)
        cuts = _cuts(long, length, line_height, ink, needs_gutters)
    if cuts is None:
        return whole
    strips = tuple(
        strip for strip in _strips(cuts, width, height) if _has_ink(ink, strip, is_wide)
    )
    if not strips:
        return whole
    largest = max(strips, key=lambda strip: strip.width * strip.height)
    seen_size = part_size(largest.width, largest.height)
    warnings = warn(largest.width, largest.height, seen_size)
    return Division(strips, (*warnings, _strips_warning(strips)))


def _strips_warning(strips: tuple[Strip, ...]) -> PageWarning:
    num_overlaps = sum(strip.overlap > 0 for strip in strips)
    seams = f"; {num_overlaps} of them overlap the one before" if num_overlaps else ""
    num_strips = "one strip" if len(strips) == 1 else f"{len(strips)} strips"
    return PageWarning(
        "strips",
        "the page is too long to be legible as a whole and was read in "
        f"{num_strips}{seams}",
    )


def _scale(width: int, height: int, size: Size) -> float:
    return math.sqrt(size[0] * size[1] / (width * height))


def _is_reduced_below(
    line_height: float, seen: float, natural: float, sizing: Sizing
) -> bool:
    """Return True if the lines are illegible and would be larger on a smaller page."""
    is_reduced = seen < MIN_REDUCTION * natural
    return is_reduced and line_height * seen < sizing.min_line_pixels


def _strip_length(
    short: int, long: int, line_height: float, natural: float, sizing: Sizing
) -> int:
    """Return the length in page pixels up to which a strip's text is legible."""
    scale = min(natural, sizing.line_pixels / line_height)
    if sizing.max_side is not None:
        scale = min(scale, sizing.max_side / short)
    length = sizing.max_pixels / (short * scale**2)
    if sizing.max_side is not None:
        length = min(length, sizing.max_side / scale)
    shortest = long / MAX_STRIPS / (1 - _SLACK)
    return math.ceil(max(shortest, min(length, _MAX_ASPECT * short)))


def _cuts(
    long: int, length: int, line_height: float, ink: Ink, needs_gutters: bool
) -> list[_Cut] | None:
    """Return where strips end and begin; None where a wide page has no gutters."""
    gaps = _Gaps(ink, line_height)
    overlap = math.ceil(min(_OVERLAP_LINES * line_height, length / 3))
    cuts: list[_Cut] = [_Cut(0, 0, False)]
    while long - (start := cuts[-1].start) > length:
        left = long - start
        target = left / math.ceil(left / length)
        low = start + (1 - _SLACK) * target
        high = start + min(length, (1 + _SLACK) * target)
        gap = gaps.widest(low, high, start + target)
        if needs_gutters and (
            gap is None or gap[1] - gap[0] < _GUTTER_LINES * line_height
        ):
            return None
        if gap is not None:
            middle = round((gap[0] + gap[1]) / 2)
            cuts.append(_Cut(middle, middle, gap[1] - gap[0] <= gaps.usual))
        else:
            end = math.floor(high)
            cuts.append(_Cut(end, end - overlap, True))
    return [*cuts, _Cut(long, long, False)]


class _Gaps:
    """Stretches of a page's long side without ink, in page pixels."""

    def __init__(self, ink: Ink, line_height: float) -> None:
        self._step = ink.step
        self._line_height = line_height
        self._found = [
            (run.start() * ink.step, run.end() * ink.step)
            for run in re.finditer(rb"\x00{2,}", ink.levels)
        ]
        widths = sorted(end - start for start, end in self._found)
        self.usual = 1.2 * widths[len(widths) // 2] if widths else 0.0
        """Width of a gap between two lines of a paragraph, or below."""

    def widest(
        self, low: float, high: float, target: float
    ) -> tuple[float, float] | None:
        """Return the best gap between two places, cut off at those.

        Above three lines wider gaps are no better; of equal ones the nearest to
        `target` is the best.
        """
        inner = [
            (max(start, low), min(end, high))
            for start, end in self._found
            if min(end, high) - max(start, low) >= 2 * self._step
        ]

        def merit(gap: tuple[float, float]) -> tuple[float, float]:
            width = min(gap[1] - gap[0], 3 * self._line_height)
            return round(width / self._step), -abs((gap[0] + gap[1]) / 2 - target)

        return max(inner, key=merit, default=None)


def _strips(cuts: list[_Cut], width: int, height: int) -> list[Strip]:
    strips = []
    for before, after in itertools.pairwise(cuts):
        start, end = before.start, after.end
        box = (start, 0, end, height) if width > height else (0, start, width, end)
        strips.append(Strip(box, before.end - before.start, before.is_continuation))
    return strips


def _has_ink(ink: Ink, strip: Strip, is_wide: bool) -> bool:
    axis = 0 if is_wide else 1
    return ink.may_have_ink(strip.box[axis], strip.box[axis + 2])
