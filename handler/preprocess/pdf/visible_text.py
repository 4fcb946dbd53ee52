"""Detection of visible characters of a page's text that were not rendered."""

from __future__ import annotations

import ctypes
import math
import unicodedata

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from handler.preprocess.pdf.fonts.page_fonts import get_family
from handler.schema import PageWarning

__all__ = ["count_undrawn_characters", "missing_text_warnings"]

MAX_SAMPLED = 400
"""Number of characters that are checked first, as a sample."""
MAX_COUNTED = 5_000
"""Number of characters that are checked if one of the sample was not rendered."""

_MIN_CONTRAST = 24
"""Smallest difference between ink and background, in gray levels of 255."""
_MIN_BOX, _MIN_BOX_SHARE = 0.05, 0.0025
"""Smallest side of the box of a glyph with outlines, in points, and as a share of the
longer side. The box of a glyph without outlines is as wide as the glyph, and its height
is a thousandth of the font size."""
_MIN_SIZE = 2.0
"""Smallest side of a character in points. Smaller characters are not legible, and parts
of ligatures have no width."""
_INVISIBLE_MODES = (
    pdfium.FPDF_TEXTRENDERMODE_INVISIBLE,
    pdfium.FPDF_TEXTRENDERMODE_CLIP,
)
_NO_INK = frozenset({"Cc", "Cf", "Cn", "Cs", "Mc", "Me", "Mn", "Zl", "Zp", "Zs"})
"""Unicode categories of characters that need not have ink of their own."""


def missing_text_warnings(
    page: pypdfium2.PdfPage,
    textpage: pypdfium2.PdfTextPage,
    image: Image.Image,
    letter_families: frozenset[str] = frozenset(),
) -> tuple[PageWarning, ...]:
    """Return a `not_drawn` warning if visible characters of `page` have no ink.

    `image` is the whole rendered page. `letter_families` are symbol families that were
    rendered as letters; their characters count too.
    """
    count = count_undrawn_characters(page, textpage, image, letter_families)
    if count == 0:
        return ()
    detail = (
        f"{count} characters of the page's text are not rendered, because no font has "
        "them"
    )
    return (PageWarning("not_drawn", detail),)


def count_undrawn_characters(
    page: pypdfium2.PdfPage,
    textpage: pypdfium2.PdfTextPage,
    image: Image.Image,
    letter_families: frozenset[str] = frozenset(),
) -> int:
    """Return the number of visible characters that were not rendered.

    Characters of the families `letter_families` always count, because they were
    rendered as letters instead of symbols. Text that is hidden on purpose does
    not count: invisible text of scans, white text, and text that is covered, clipped or
    outside the page.

    Only the first MAX_COUNTED characters are checked. Of many characters, a sample is
    checked first, and 0 is returned if all of the sample were rendered.
    """
    num = min(textpage.count_chars(), MAX_COUNTED)
    if num <= 0:
        return 0
    checker = _CharacterChecker(page, textpage, image, letter_families)
    step = max(1, num // MAX_SAMPLED)
    if step > 1 and not letter_families:
        text = textpage.get_text_range(0, num, errors="ignore")
        # If a font lacks a character, it lacks each occurrence, so the first one is
        # enough. Characters outside ASCII are the likely ones.
        non_ascii = {text.find(each) for each in set(text) if each > "\x7f"}
        sample = {*range(0, num, step), *list(non_ascii)[:MAX_SAMPLED]}
        if not any(checker.is_undrawn(index) for index in sample if index < num):
            return 0
    return sum(checker.is_undrawn(index) for index in range(num))


class _CharacterChecker:
    """Checker of single characters of a page and of its image."""

    def __init__(
        self,
        page: pypdfium2.PdfPage,
        textpage: pypdfium2.PdfTextPage,
        image: Image.Image,
        letter_families: frozenset[str],
    ) -> None:
        self._textpage = textpage
        self._letter_families = letter_families
        self._image = image
        self._projection = _Projection(page, image.size)
        self._box = tuple(ctypes.c_double() for _ in range(4))
        self._loose = pdfium.FS_RECTF()

    def is_undrawn(self, index: int) -> bool:
        """Return True if a visible character was not rendered, or as a wrong letter.

        `index` is the position of the character in the text page.
        """
        if self._letter_families and self._is_symbol_drawn_as_letter(index):
            return True
        textpage, box = self._textpage, self._box
        left, right, bottom, top = box
        if not pdfium.FPDFText_GetCharBox(textpage, index, left, right, bottom, top):
            return False
        # The box is that of the glyph's outlines. A glyph with outlines was rendered.
        width, height = abs(right.value - left.value), abs(top.value - bottom.value)
        if min(width, height) > max(_MIN_BOX, _MIN_BOX_SHARE * max(width, height)):
            return False
        return (
            self._should_have_ink(index)
            and self._is_visible(index)
            and not self._has_ink(index)
        )

    def _is_symbol_drawn_as_letter(self, index: int) -> bool:
        """Return True for a visible character of a font that lacks a substitute."""
        if pdfium.FPDFText_GetUnicode(self._textpage, index) <= 0x20:
            return False
        handle = pdfium.FPDFText_GetTextObject(self._textpage, index)
        font = pdfium.FPDFTextObj_GetFont(handle) if handle else None
        if not font or pdfium.FPDFFont_GetIsEmbedded(font) == 1:
            return False
        return get_family(font) in self._letter_families and self._is_visible(index)

    def _should_have_ink(self, index: int) -> bool:
        """Return True if a rendered glyph of the character is known to have ink."""
        character = pdfium.FPDFText_GetUnicode(self._textpage, index)
        if character <= 0x20 or pdfium.FPDFText_IsGenerated(self._textpage, index) == 1:
            return False
        # Without a map to Unicode the character may be anything, for example a space.
        if pdfium.FPDFText_HasUnicodeMapError(self._textpage, index) == 1:
            return False
        is_replacement = character == 0xFFFD
        return (
            not is_replacement and unicodedata.category(chr(character)) not in _NO_INK
        )

    def _is_visible(self, index: int) -> bool:
        """Return True unless the render mode or the color hides the character."""
        handle = pdfium.FPDFText_GetTextObject(self._textpage, index)
        if not handle:
            return False
        if pdfium.FPDFTextObj_GetTextRenderMode(handle) in _INVISIBLE_MODES:
            return False
        red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
        has_color = pdfium.FPDFText_GetFillColor(
            self._textpage, index, red, green, blue, alpha
        )
        darkest = min(red.value, green.value, blue.value)
        return not has_color or (alpha.value >= 16 and darkest <= 255 - _MIN_CONTRAST)

    def _has_ink(self, index: int) -> bool:
        """Return True if the character has ink, or if that cannot be checked."""
        loose = self._loose
        if not pdfium.FPDFText_GetLooseCharBox(self._textpage, index, loose):
            return True
        # Check the middle of the box, because neighbouring characters and underlines
        # extend into its edges.
        width, height = loose.right - loose.left, loose.top - loose.bottom
        if min(width, height) < _MIN_SIZE:
            return True
        box = self._projection.to_pixel_box(
            loose.left + 0.15 * width,
            loose.bottom + 0.25 * height,
            loose.right - 0.15 * width,
            loose.top - 0.25 * height,
        )
        if box is None:
            return True
        levels = self._image.crop(box).convert("L").tobytes()
        return max(levels) - min(levels) >= _MIN_CONTRAST


class _Projection:
    """Transformation from points of a page to pixels of its image."""

    def __init__(self, page: pypdfium2.PdfPage, size: tuple[int, int]) -> None:
        self._size = size
        scale = 1000
        points = []
        for x, y in ((0, 0), (scale, 0), (0, scale)):
            across, down = ctypes.c_int(), ctypes.c_int()
            # The function rounds, so it is called with sixteenths of pixels.
            pdfium.FPDF_PageToDevice(
                page, 0, 0, size[0] * 16, size[1] * 16, 0, x, y, across, down
            )
            points.append((across.value / 16, down.value / 16))
        (self._x, self._y), right, up = points
        self._x_by_x, self._y_by_x = (
            (right[0] - self._x) / scale,
            (right[1] - self._y) / scale,
        )
        self._x_by_y, self._y_by_y = (
            (up[0] - self._x) / scale,
            (up[1] - self._y) / scale,
        )

    def to_pixel_box(
        self, left: float, bottom: float, right: float, top: float
    ) -> tuple[int, int, int, int] | None:
        """Convert a rectangle in points to pixels: left, top, right, bottom.

        Returns None if it is empty or exceeds the image.
        """
        corners = [
            (
                self._x + x * self._x_by_x + y * self._x_by_y,
                self._y + x * self._y_by_x + y * self._y_by_y,
            )
            for x, y in ((left, bottom), (right, top))
        ]
        if not all(math.isfinite(value) for corner in corners for value in corner):
            return None
        (x0, x1), (y0, y1) = (sorted(values) for values in zip(*corners, strict=True))
        box = math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)
        is_inside = box[0] >= 0 and box[1] >= 0
        is_inside = is_inside and box[2] <= self._size[0] and box[3] <= self._size[1]
        return box if is_inside and box[0] < box[2] and box[1] < box[3] else None
