"""Appearance streams for annotations that have none and that pdfium does not render.

A viewer has to generate the appearance of such annotations. pdfium does so for shapes,
text markup and ink. This module writes content streams for lines, polygons, stamps and
free text. pdfium substitutes its own Helvetica for the font that they name.
"""

from __future__ import annotations

import ctypes
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from html import unescape

import pypdfium2.raw as pdfium

__all__ = [
    "encode_wide_string",
    "extract_plain_text",
    "get_string",
    "read_num_omitted_characters",
    "read_wide_string",
    "write_appearance",
]

MAX_VERTICES = 10_000
"""Number of vertices above which a polygon is not drawn."""
_MAX_CHARACTERS = 5_000
_DEFAULT_FONT_SIZE, _MIN_FONT_SIZE, _MAX_FONT_SIZE = 12.0, 4.0, 72.0
_LEADING = 1.15
_MARGIN = 2.0
"""Distance in points between a frame and its text."""
_HIDDEN_FLAG = 2
_NUM_OMITTED_KEY = b"CharactersNotDrawn"
"""Private key under which `write_appearance` stores the number of characters that it
omits."""
_STAMP_COLOR = "0.7 0 0"
# Advance widths of Helvetica for the characters from space to tilde, in 1/1000 em.
_WIDTHS = [
    *(278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278),
    *(556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556),
    *(1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778),
    *(667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556),
    *(333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556),
    *(556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584),
]
_FONT_SIZE_PATTERN = re.compile(r"(\d*\.?\d+)\s+Tf")
_COLOR_PATTERN = re.compile(r"((?:\d*\.?\d+\s+)+)(rg|g|k)\b")
_PARAGRAPH_END = re.compile(r"</p\s*>|<br\s*/?>", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")

_Point = tuple[float, float]


def write_appearance(annotation: pdfium.FPDF_ANNOTATION) -> None:
    """Write the appearance of a line, polygon, stamp or free text that has none.

    Other annotations and hidden ones are left as they are. A line or polygon also gets
    a rectangle that encloses it. Characters of free text that Helvetica lacks become
    spaces; `read_num_omitted_characters` returns their number.
    """
    kind = pdfium.FPDFAnnot_GetSubtype(annotation)
    draw = _DRAW_FUNCTIONS.get(kind)
    if draw is None or pdfium.FPDFAnnot_HasKey(annotation, b"AP"):
        return
    if pdfium.FPDFAnnot_GetFlags(annotation) & _HIDDEN_FLAG:
        return
    content = draw(annotation)
    if content:
        normal = pdfium.FPDF_ANNOT_APPEARANCEMODE_NORMAL
        pdfium.FPDFAnnot_SetAP(annotation, normal, encode_wide_string(content))


def read_num_omitted_characters(annotation: pdfium.FPDF_ANNOTATION) -> int:
    """Return the number of characters that `write_appearance` omitted.

    Returns 0 for an annotation whose appearance it did not write.
    """
    text = get_string(annotation, _NUM_OMITTED_KEY)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def get_string(annotation: pdfium.FPDF_ANNOTATION, key: bytes) -> str:
    """Return the string value of an annotation's key; "" if it is missing."""
    return read_wide_string(partial(pdfium.FPDFAnnot_GetStringValue, annotation, key))


def read_wide_string(read: Callable[[object, int], int]) -> str:
    """Return the text that a pdfium function writes as zero-terminated UTF-16.

    `read` is that function with all but its last two arguments bound. It takes a buffer
    and its size, or None and 0, and returns the size in bytes that it needs. It is
    called twice.
    """
    num_bytes = read(None, 0)
    buffer = (pdfium.FPDF_WCHAR * (num_bytes // 2 + 1))()
    read(buffer, num_bytes)
    return bytes(buffer).decode("utf-16-le", "replace").partition("\0")[0]


def encode_wide_string(text: str) -> ctypes.Array[ctypes.c_ushort]:
    """Encode text as zero-terminated UTF-16 for pdfium."""
    encoded = text.encode("utf-16-le", "replace") + b"\0\0"
    wide: ctypes.Array[ctypes.c_ushort] = (
        pdfium.FPDF_WCHAR * (len(encoded) // 2)
    ).from_buffer_copy(encoded)
    return wide


def extract_plain_text(rich: str) -> str:
    """Return the text of a rich text value, which is XHTML, one line per paragraph."""
    lines = _TAG.sub("", _PARAGRAPH_END.sub("\n", rich))
    return unescape(lines).strip()


# The following functions return the content stream of an appearance, or "" if there is
# nothing to draw.


def _draw_line(annotation: pdfium.FPDF_ANNOTATION) -> str:
    start, end = pdfium.FS_POINTF(), pdfium.FS_POINTF()
    if not pdfium.FPDFAnnot_GetLine(annotation, start, end):
        return ""
    return _draw_path(annotation, [(start.x, start.y), (end.x, end.y)], is_closed=False)


def _draw_polygon(annotation: pdfium.FPDF_ANNOTATION, *, is_closed: bool) -> str:
    num = pdfium.FPDFAnnot_GetVertices(annotation, None, 0)
    if not 1 < num <= MAX_VERTICES:
        return ""
    points = (pdfium.FS_POINTF * num)()
    pdfium.FPDFAnnot_GetVertices(annotation, points, num)
    vertices = [(point.x, point.y) for point in points]
    return _draw_path(annotation, vertices, is_closed=is_closed)


def _draw_path(
    annotation: pdfium.FPDF_ANNOTATION, points: Sequence[_Point], *, is_closed: bool
) -> str:
    """Draw lines between `points`, and set the annotation's rectangle to enclose them.

    Returns "" and leaves the rectangle as it is if the path would be invisible.
    """
    if not all(math.isfinite(side) for point in points for side in point):
        return ""
    width = _get_border_width(annotation)
    fill = _get_color(annotation, is_interior=True) if is_closed else ""
    if width == 0 and not fill:
        return ""
    # Some writers give a horizontal line a rectangle without height, so that it would
    # be clipped.
    xs, ys = zip(*points, strict=True)
    left, bottom = min(xs) - width - 1, min(ys) - width - 1
    right, top = max(xs) + width + 1, max(ys) + width + 1
    rect = pdfium.FS_RECTF(left=left, top=top, right=right, bottom=bottom)
    pdfium.FPDFAnnot_SetRect(annotation, rect)
    moves = " ".join(
        f"{x:.3f} {y:.3f} {'l' if index else 'm'}"
        for index, (x, y) in enumerate(points)
    )
    paint = ("B" if width else "f") if fill else "S"
    color = _get_color(annotation) or "0 0 0"
    fill = f"{fill} rg " if fill else ""
    close = " h" if is_closed else ""
    return f"/GS gs {color} RG {fill}{width:.3f} w {moves}{close} {paint}"


def _draw_stamp(annotation: pdfium.FPDF_ANNOTATION) -> str:
    """Draw a frame with the stamp's name, or without it if it is not legible."""
    rect = _get_rect(annotation)
    if rect is None:
        return ""
    name = get_string(annotation, b"Name").lstrip("#") or "Draft"
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)[:100].upper()
    left, bottom, right, top = rect
    color = _get_color(annotation) or _STAMP_COLOR
    width = max(1.0, min(right - left, top - bottom) / 40)
    inner = (left + width, bottom + width, right - width, top - width)
    size = min((top - bottom) * 0.6, _MAX_FONT_SIZE)
    size = min(size, (right - left) * 0.85 / max(_measure_text(text, 1.0), 0.1))
    if size < _MIN_FONT_SIZE or _encode_string(text) is None:
        return f"/GS gs {color} RG {width:.3f} w {_rectangle_operator(inner)} S"
    x = (left + right - _measure_text(text, size)) / 2
    y = (top + bottom) / 2 - 0.36 * size
    return (
        f"/GS gs {color} RG {color} rg {width:.3f} w {_rectangle_operator(inner)} S "
        f"BT /Helv {size:.3f} Tf {x:.3f} {y:.3f} Td {_encode_string(text)} Tj ET"
    )


def _draw_free_text(annotation: pdfium.FPDF_ANNOTATION) -> str:
    """Wrap the text in its rectangle, and reduce the font size until it fits.

    Stores the number of characters that Helvetica lacks in the annotation.
    """
    rect = _get_rect(annotation)
    text = get_string(annotation, b"Contents")
    text = text or extract_plain_text(get_string(annotation, b"RC"))
    text = text[:_MAX_CHARACTERS].replace("\r\n", "\n").replace("\r", "\n")
    if rect is None or not text.strip():
        return ""
    omitted = {each for each in text if _encode_string(each) is None}
    if omitted:
        num_omitted = sum(map(text.count, omitted))
        text = "".join(" " if each in omitted else each for each in text)
        pdfium.FPDFAnnot_SetStringValue(
            annotation, _NUM_OMITTED_KEY, encode_wide_string(str(num_omitted))
        )
    left, bottom, right, top = rect
    style = get_string(annotation, b"DA")
    stated_size = _FONT_SIZE_PATTERN.search(style)
    size = float(stated_size[1]) if stated_size else 0.0
    size = min(size or _DEFAULT_FONT_SIZE, _MAX_FONT_SIZE * 4)
    border = _get_border_width(annotation)
    margin = _MARGIN + border
    width, height = right - left - 2 * margin, top - bottom - 2 * margin
    if min(width, height) <= 0:
        return ""
    # Start at no more than twice the size at which the text would fill the area, to
    # limit the number of iterations.
    bound = 2 * math.sqrt(2 * width * height / len(text))
    size = max(min(size, bound), _MIN_FONT_SIZE)
    lines = _wrap_lines(text, size, width)
    widest = max(text.split() or [""], key=lambda word: _measure_text(word, 1.0))
    while size > _MIN_FONT_SIZE and (
        len(lines) * size * _LEADING > height or _measure_text(widest, size) > width
    ):
        size = max(size * 0.9, _MIN_FONT_SIZE)
        lines = _wrap_lines(text, size, width)
    stated_color = _COLOR_PATTERN.search(style)
    color = stated_color[0] if stated_color else "0 g"
    ground = _get_color(annotation)
    parts = ["/GS gs"]
    if ground:
        parts.append(f"{ground} rg {_rectangle_operator(rect)} f")
    if border:
        half = border / 2
        inner = (left + half, bottom + half, right - half, top - half)
        parts.append(f"0 G {border:.3f} w {_rectangle_operator(inner)} S")
    alignment = {"1": 0.5, "2": 1.0}.get(_get_number(annotation, b"Q"), 0.0)
    y = top - margin - 0.8 * size
    for line in lines:
        x = left + margin + alignment * (width - _measure_text(line, size))
        parts.append(
            f"BT {color} /Helv {size:.3f} Tf {x:.3f} {y:.3f} Td "
            f"{_encode_string(line)} Tj ET"
        )
        y -= _LEADING * size
    return " ".join(parts)


_DRAW_FUNCTIONS: dict[int, Callable[[pdfium.FPDF_ANNOTATION], str]] = {
    pdfium.FPDF_ANNOT_LINE: _draw_line,
    pdfium.FPDF_ANNOT_POLYGON: partial(_draw_polygon, is_closed=True),
    pdfium.FPDF_ANNOT_POLYLINE: partial(_draw_polygon, is_closed=False),
    pdfium.FPDF_ANNOT_STAMP: _draw_stamp,
    pdfium.FPDF_ANNOT_FREETEXT: _draw_free_text,
}


def _wrap_lines(text: str, size: float, width: float) -> list[str]:
    """Divide text into lines of at most `width` points, between words if possible."""
    lines = []
    for paragraph in text.strip("\n").split("\n"):
        line, used = "", 0.0
        for word in re.findall(r"\S+|\s+", paragraph):
            needed = _measure_text(word, size)
            if line and used + needed > width and not word.isspace():
                lines.append(line.rstrip())
                line, used = "", 0.0
            line, used = line + word, used + needed
            while used > width and len(line.rstrip()) > 1 and not word.isspace():
                fitting = _count_fitting_characters(line, size, width)
                lines.append(line[:fitting])
                line = line[fitting:]
                used = _measure_text(line, size)
        lines.append(line.rstrip())
    return lines


def _count_fitting_characters(line: str, size: float, width: float) -> int:
    """Return the number of characters that fit in `width`, at least 1."""
    total = 0.0
    for index, character in enumerate(line):
        total += _measure_text(character, size)
        if total > width:
            return max(1, index)
    return len(line)


def _measure_text(text: str, size: float) -> float:
    """Return the width of text in points at a font size of `size` points."""
    return sum(map(_measure_character, text)) * size / 1000


@lru_cache(maxsize=1024)
def _measure_character(character: str) -> int:
    """Return the advance width of a character in 1/1000 em."""
    # An accented letter has the width of its base letter.
    base = ord(unicodedata.normalize("NFD", character)[0])
    return _WIDTHS[base - 32] if 32 <= base < 127 else 556


def _encode_string(text: str) -> str | None:
    """Encode text as a string of a content stream.

    Returns None if Helvetica lacks one of its characters.
    """
    try:
        codes = text.replace("\t", " ").replace("\n", " ").encode("cp1252")
    except UnicodeEncodeError:
        return None
    return f"<{codes.hex()}>"


def _rectangle_operator(rect: tuple[float, float, float, float]) -> str:
    left, bottom, right, top = rect
    return f"{left:.3f} {bottom:.3f} {right - left:.3f} {top - bottom:.3f} re"


def _get_rect(
    annotation: pdfium.FPDF_ANNOTATION,
) -> tuple[float, float, float, float] | None:
    """Return left, bottom, right and top; None if it has no room within its margins."""
    rect = pdfium.FS_RECTF()
    if not pdfium.FPDFAnnot_GetRect(annotation, rect):
        return None
    left, right = sorted((rect.left, rect.right))
    bottom, top = sorted((rect.bottom, rect.top))
    sides = (left, bottom, right, top)
    has_area = right - left > 2 * _MARGIN and top - bottom > 2 * _MARGIN
    return sides if has_area and all(map(math.isfinite, sides)) else None


def _get_color(annotation: pdfium.FPDF_ANNOTATION, *, is_interior: bool = False) -> str:
    """Return a color as operands of the operator `rg`; "" if there is none."""
    if not pdfium.FPDFAnnot_HasKey(annotation, b"IC" if is_interior else b"C"):
        return ""
    kind = (
        pdfium.FPDFANNOT_COLORTYPE_InteriorColor
        if is_interior
        else pdfium.FPDFANNOT_COLORTYPE_Color
    )
    levels = [ctypes.c_uint() for _ in range(4)]
    if not pdfium.FPDFAnnot_GetColor(annotation, kind, *levels):
        return ""
    return " ".join(f"{level.value / 255:.3f}" for level in levels[:3])


def _get_border_width(annotation: pdfium.FPDF_ANNOTATION) -> float:
    """Return the border width in points.

    pdfium reads it from /Border but not from /BS, for which 1 is assumed.
    """
    sides = [ctypes.c_float() for _ in range(3)]
    if not pdfium.FPDFAnnot_GetBorder(annotation, *sides):
        return 1.0
    width = sides[2].value
    return min(width, 20.0) if math.isfinite(width) and width > 0 else 0.0


def _get_number(annotation: pdfium.FPDF_ANNOTATION, key: bytes) -> str:
    """Return a number rounded to an integer, as text; "" if it is missing."""
    value = ctypes.c_float()
    if not pdfium.FPDFAnnot_GetNumberValue(annotation, key, value):
        return ""
    return f"{value.value:.0f}"
