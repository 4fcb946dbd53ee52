"""Write appearances for annotations that have none and that pdfium does not draw.

A viewer has to draw such annotations itself. pdfium draws shapes, marked text and ink.
Here are lines, polygons, stamps and free text, as content streams; pdfium takes its own
Helvetica for the font that they name.
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
    "num_lacking",
    "plain_text",
    "string_of",
    "text_from",
    "wide_string",
    "write_appearance",
]

MAX_VERTICES = 10_000
_MAX_TEXT = 5_000
_TEXT_SIZE, _MIN_TEXT_SIZE, _MAX_TEXT_SIZE = 12.0, 4.0, 72.0
_LEADING = 1.15
_MARGIN = 2.0
"""Points between a frame and its text."""
_HIDDEN = 2
_LACKING = b"CharactersNotDrawn"
"""A key of our own, kept in the annotation for `num_lacking`."""
_STAMP_COLOR = "0.7 0 0"
# The advance widths of Helvetica for the characters from the space to the tilde.
_WIDTHS = [
    *(278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278),
    *(556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556),
    *(1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778),
    *(667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556),
    *(333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556),
    *(556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584),
]
_TEXT_SIZE_IN = re.compile(r"(\d*\.?\d+)\s+Tf")
_COLOR_IN = re.compile(r"((?:\d*\.?\d+\s+)+)(rg|g|k)\b")
_PARAGRAPH_END = re.compile(r"</p\s*>|<br\s*/?>", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")

_Point = tuple[float, float]


def write_appearance(annotation: pdfium.FPDF_ANNOTATION) -> None:
    """Write the appearance of a line, polygon, stamp or free text that has none."""
    kind = pdfium.FPDFAnnot_GetSubtype(annotation)
    write = _WRITERS.get(kind)
    if write is None or pdfium.FPDFAnnot_HasKey(annotation, b"AP"):
        return
    if pdfium.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
        return
    content = write(annotation)
    if content:
        normal = pdfium.FPDF_ANNOT_APPEARANCEMODE_NORMAL
        pdfium.FPDFAnnot_SetAP(annotation, normal, wide_string(content))


def num_lacking(annotation: pdfium.FPDF_ANNOTATION) -> int:
    """Return how many characters `write_appearance` left out, for lack of a font."""
    text = string_of(annotation, _LACKING)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def string_of(annotation: pdfium.FPDF_ANNOTATION, key: bytes) -> str:
    """Return the text of an entry; "" if there is none."""
    return text_from(partial(pdfium.FPDFAnnot_GetStringValue, annotation, key))


def text_from(read: Callable[[object, int], int]) -> str:
    """Return a text that pdfium writes as UTF-16 with a terminating zero."""
    num_bytes = read(None, 0)
    buffer = (pdfium.FPDF_WCHAR * (num_bytes // 2 + 1))()
    read(buffer, num_bytes)
    return bytes(buffer).decode("utf-16-le", "replace").partition("\0")[0]


def wide_string(text: str) -> ctypes.Array[ctypes.c_ushort]:
    """Return a text as UTF-16 with a terminating zero."""
    encoded = text.encode("utf-16-le", "replace") + b"\0\0"
    wide: ctypes.Array[ctypes.c_ushort] = (
        pdfium.FPDF_WCHAR * (len(encoded) // 2)
    ).from_buffer_copy(encoded)
    return wide


def plain_text(rich: str) -> str:
    """Return the text of rich text, which is XHTML, without its markup."""
    lines = _TAG.sub("", _PARAGRAPH_END.sub("\n", rich))
    return unescape(lines).strip()


def _line(annotation: pdfium.FPDF_ANNOTATION) -> str:
    start, end = pdfium.FS_POINTF(), pdfium.FS_POINTF()
    if not pdfium.FPDFAnnot_GetLine(annotation, start, end):
        return ""
    return _path(annotation, [(start.x, start.y), (end.x, end.y)], is_closed=False)


def _polygon(annotation: pdfium.FPDF_ANNOTATION, *, is_closed: bool) -> str:
    num = pdfium.FPDFAnnot_GetVertices(annotation, None, 0)
    if not 1 < num <= MAX_VERTICES:
        return ""
    points = (pdfium.FS_POINTF * num)()
    pdfium.FPDFAnnot_GetVertices(annotation, points, num)
    vertices = [(point.x, point.y) for point in points]
    return _path(annotation, vertices, is_closed=is_closed)


def _path(
    annotation: pdfium.FPDF_ANNOTATION, points: Sequence[_Point], *, is_closed: bool
) -> str:
    if not all(math.isfinite(side) for point in points for side in point):
        return ""
    width = _border_width(annotation)
    fill = _color(annotation, is_interior=True) if is_closed else ""
    if width == 0 and not fill:
        return ""
    # Some writers leave a flat line a rectangle without height.
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
    color = _color(annotation) or "0 0 0"
    fill = f"{fill} rg " if fill else ""
    close = " h" if is_closed else ""
    return f"/GS gs {color} RG {fill}{width:.3f} w {moves}{close} {paint}"


def _stamp(annotation: pdfium.FPDF_ANNOTATION) -> str:
    rect = _rect(annotation)
    if rect is None:
        return ""
    name = string_of(annotation, b"Name").lstrip("#") or "Draft"
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)[:100].upper()
    left, bottom, right, top = rect
    color = _color(annotation) or _STAMP_COLOR
    width = max(1.0, min(right - left, top - bottom) / 40)
    inner = (left + width, bottom + width, right - width, top - width)
    size = min((top - bottom) * 0.6, _MAX_TEXT_SIZE)
    size = min(size, (right - left) * 0.85 / max(_width(text, 1.0), 0.1))
    if size < _MIN_TEXT_SIZE or _encoded(text) is None:
        return f"/GS gs {color} RG {width:.3f} w {_rectangle(inner)} S"
    x = (left + right - _width(text, size)) / 2
    y = (top + bottom) / 2 - 0.36 * size
    return (
        f"/GS gs {color} RG {color} rg {width:.3f} w {_rectangle(inner)} S "
        f"BT /Helv {size:.3f} Tf {x:.3f} {y:.3f} Td {_encoded(text)} Tj ET"
    )


def _free_text(annotation: pdfium.FPDF_ANNOTATION) -> str:
    """Wrap the text at the width of the rectangle, smaller if it is too long for it."""
    rect = _rect(annotation)
    text = string_of(annotation, b"Contents")
    text = text or plain_text(string_of(annotation, b"RC"))
    text = text[:_MAX_TEXT].replace("\r\n", "\n").replace("\r", "\n")
    if rect is None or not text.strip():
        return ""
    lacking = sum(_encoded(each) is None for each in text)
    if lacking:
        text = "".join(" " if _encoded(each) is None else each for each in text)
        pdfium.FPDFAnnot_SetStringValue(annotation, _LACKING, wide_string(str(lacking)))
    left, bottom, right, top = rect
    style = string_of(annotation, b"DA")
    found = _TEXT_SIZE_IN.search(style)
    size = float(found[1]) if found else 0.0
    size = min(size or _TEXT_SIZE, _MAX_TEXT_SIZE * 4)
    border = _border_width(annotation)
    margin = _MARGIN + border
    width, height = right - left - 2 * margin, top - bottom - 2 * margin
    if min(width, height) <= 0:
        return ""
    # Twice the size at which the text would fill the area, as a quick first bound.
    bound = 2 * math.sqrt(2 * width * height / len(text))
    size = max(min(size, bound), _MIN_TEXT_SIZE)
    lines = _wrapped(text, size, width)
    widest = max(text.split() or [""], key=lambda word: _width(word, 1.0))
    while size > _MIN_TEXT_SIZE and (
        len(lines) * size * _LEADING > height or _width(widest, size) > width
    ):
        size = max(size * 0.9, _MIN_TEXT_SIZE)
        lines = _wrapped(text, size, width)
    color = found_color[0] if (found_color := _COLOR_IN.search(style)) else "0 g"
    ground = _color(annotation)
    parts = ["/GS gs"]
    if ground:
        parts.append(f"{ground} rg {_rectangle(rect)} f")
    if border:
        half = border / 2
        inner = (left + half, bottom + half, right - half, top - half)
        parts.append(f"0 G {border:.3f} w {_rectangle(inner)} S")
    alignment = {"1": 0.5, "2": 1.0}.get(_number(annotation, b"Q"), 0.0)
    y = top - margin - 0.8 * size
    for line in lines:
        x = left + margin + alignment * (width - _width(line, size))
        parts.append(
            f"BT {color} /Helv {size:.3f} Tf {x:.3f} {y:.3f} Td {_encoded(line)} Tj ET"
        )
        y -= _LEADING * size
    return " ".join(parts)


_WRITERS: dict[int, Callable[[pdfium.FPDF_ANNOTATION], str]] = {
    pdfium.FPDF_ANNOT_LINE: _line,
    pdfium.FPDF_ANNOT_POLYGON: partial(_polygon, is_closed=True),
    pdfium.FPDF_ANNOT_POLYLINE: partial(_polygon, is_closed=False),
    pdfium.FPDF_ANNOT_STAMP: _stamp,
    pdfium.FPDF_ANNOT_FREETEXT: _free_text,
}


def _wrapped(text: str, size: float, width: float) -> list[str]:
    lines = []
    for paragraph in text.strip("\n").split("\n"):
        line, used = "", 0.0
        for word in re.findall(r"\S+|\s+", paragraph):
            needed = _width(word, size)
            if line and used + needed > width and not word.isspace():
                lines.append(line.rstrip())
                line, used = "", 0.0
            line, used = line + word, used + needed
            while used > width and len(line.rstrip()) > 1 and not word.isspace():
                fitting = _num_fitting(line, size, width)
                lines.append(line[:fitting])
                line = line[fitting:]
                used = _width(line, size)
        lines.append(line.rstrip())
    return lines


def _num_fitting(line: str, size: float, width: float) -> int:
    """Return how many characters fit, at least one."""
    total = 0.0
    for index, character in enumerate(line):
        total += _width(character, size)
        if total > width:
            return max(1, index)
    return len(line)


def _width(text: str, size: float) -> float:
    return sum(map(_character_width, text)) * size / 1000


@lru_cache(maxsize=1024)
def _character_width(character: str) -> int:
    # An accent is within the width of its letter.
    base = ord(unicodedata.normalize("NFD", character)[0])
    return _WIDTHS[base - 32] if 32 <= base < 127 else 556


def _encoded(text: str) -> str | None:
    """Return a string of a content stream; None if Helvetica lacks a letter."""
    try:
        codes = text.replace("\t", " ").replace("\n", " ").encode("cp1252")
    except UnicodeEncodeError:
        return None
    return f"<{codes.hex()}>"


def _rectangle(rect: tuple[float, float, float, float]) -> str:
    left, bottom, right, top = rect
    return f"{left:.3f} {bottom:.3f} {right - left:.3f} {top - bottom:.3f} re"


def _rect(
    annotation: pdfium.FPDF_ANNOTATION,
) -> tuple[float, float, float, float] | None:
    rect = pdfium.FS_RECTF()
    if not pdfium.FPDFAnnot_GetRect(annotation, rect):
        return None
    left, right = sorted((rect.left, rect.right))
    bottom, top = sorted((rect.bottom, rect.top))
    sides = (left, bottom, right, top)
    has_area = right - left > 2 * _MARGIN and top - bottom > 2 * _MARGIN
    return sides if has_area and all(map(math.isfinite, sides)) else None


def _color(annotation: pdfium.FPDF_ANNOTATION, *, is_interior: bool = False) -> str:
    """Return a color as operands of `rg`; "" if the annotation has none."""
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


def _border_width(annotation: pdfium.FPDF_ANNOTATION) -> float:
    """Return the width in points of /Border; 1 for /BS, which pdfium does not tell."""
    sides = [ctypes.c_float() for _ in range(3)]
    if not pdfium.FPDFAnnot_GetBorder(annotation, *sides):
        return 1.0
    width = sides[2].value
    return min(width, 20.0) if math.isfinite(width) and width > 0 else 0.0


def _number(annotation: pdfium.FPDF_ANNOTATION, key: bytes) -> str:
    value = ctypes.c_float()
    if not pdfium.FPDFAnnot_GetNumberValue(annotation, key, value):
        return ""
    return f"{value.value:.0f}"
