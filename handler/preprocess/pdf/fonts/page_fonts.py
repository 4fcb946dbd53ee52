"""Fonts and characters that the text of a PDF page needs, if they are not embedded.

pdfium's own fonts have Latin letters only. Therefore the text layer of a page is read
first. If it has other characters, the page is loaded again with fonts that have them.
Text with Latin letters only keeps pdfium's own fonts.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from handler.preprocess.pdf.fonts import wingdings
from handler.preprocess.pdf.fonts.files import normalize_family
from handler.preprocess.pdf.fonts.mapper import (
    PDFIUM_FAMILIES,
    FontMapper,
    FontRequirements,
)
from handler.preprocess.pdf.fonts.scripts import BUILT_IN

__all__ = ["find_font_requirements", "get_family"]

MAX_CHARACTERS = 20_000
"""Number of characters of a page whose fonts are examined."""
MAX_NEEDED = 64
"""Number of characters of a family that are considered when its font is chosen."""
_SYMBOLIC = 1 << 2
"""Flag of a font descriptor: the font has characters outside the standard Latin set."""


def find_font_requirements(
    page: pypdfium2.PdfPage, mapper: FontMapper
) -> FontRequirements | None:
    """Return the characters that fonts need; None if pdfium has suitable fonts.

    Call it with a page that was loaded after `mapper.set_requirements(None)`. The
    requirements are not yet set in `mapper`. A document keeps the fonts it has loaded,
    so reopen it after `mapper.set_requirements` to render with the requirements.
    """
    if not mapper.requested_families:
        return None
    textpage = page.get_textpage()
    try:
        num = min(textpage.count_chars(), MAX_CHARACTERS)
        text = textpage.get_text_range(0, num, errors="ignore") if num > 0 else ""
        if wingdings.FAMILY not in mapper.requested_families and not _select_foreign(
            map(ord, set(text))
        ):
            return None
        used = _list_used_fonts(textpage, num)
    finally:
        textpage.close()
    needed = [_choose_needed_characters(font) for font in used]
    leftover: set[int] = set()
    by_family: dict[str, tuple[int, ...]] = {}
    for font, characters in zip(used, needed, strict=True):
        face = mapper.fonts.find_for_family(font.family, characters, False, False)
        leftover.update(
            character
            for character in _select_foreign(characters)
            if face is None or not face.characters.find_glyph(character)
        )
        merged = dict.fromkeys((*by_family.get(font.family, ()), *characters))
        by_family[font.family] = tuple(merged)[:MAX_NEEDED]
    has_wingdings_fallback = any(
        font.is_wingdings and not font.is_symbolic for font in used
    )
    if not any(needed) and not has_wingdings_fallback:
        return None
    # pdfium requests fonts in the order of the content. If it requested others too,
    # which render nothing, the order cannot be matched.
    has_order = [font.family for font in used] == mapper.requested_families
    return FontRequirements(
        by_order=tuple(needed) if has_order else (),
        by_family={} if has_order else by_family,
        fallback=tuple(sorted(leftover)[:MAX_NEEDED]),
        has_wingdings_fallback=has_wingdings_fallback,
    )


@dataclass(frozen=True, slots=True)
class _UsedFont:
    """A font that is not embedded, and the characters it is used for on a page."""

    family: str
    is_symbolic: bool
    characters: set[int]

    @property
    def is_wingdings(self) -> bool:
        return self.family == wingdings.FAMILY


def _select_foreign(characters: Iterable[int]) -> set[int]:
    """Return the characters that pdfium's own fonts lack."""
    return {each for each in characters if each > 0x20 and each not in BUILT_IN}


def _choose_needed_characters(font: _UsedFont) -> tuple[int, ...]:
    """Return up to `MAX_NEEDED` characters that a font must have.

    Returns () for Wingdings, and if pdfium's own fonts have all of the characters.
    """
    foreign = sorted(_select_foreign(font.characters))
    if not foreign or font.is_wingdings:
        return ()
    latin = sorted(font.characters & BUILT_IN)[: MAX_NEEDED // 4]
    return (*foreign[: MAX_NEEDED - len(latin)], *latin)


def _list_used_fonts(textpage: pypdfium2.PdfTextPage, num: int) -> list[_UsedFont]:
    """Return the fonts of the first `num` characters in the order of their first use.

    Embedded fonts, and fonts that pdfium never requests, are omitted.
    """
    fonts: dict[int, _UsedFont] = {}
    # The characters of the font of each text object, by the address of the object.
    characters_by_object: dict[int, set[int]] = {}
    for index in range(num):
        character = pdfium.FPDFText_GetUnicode(textpage, index)
        handle = pdfium.FPDFText_GetTextObject(textpage, index)
        if character <= 0x20 or not handle:
            continue
        # Without a map to Unicode this is a character code, which does not tell the
        # glyph that is needed.
        has_no_unicode = pdfium.FPDFText_HasUnicodeMapError(textpage, index) == 1
        address = ctypes.addressof(handle.contents)
        if address not in characters_by_object:
            font = pdfium.FPDFTextObj_GetFont(handle)
            if not font or pdfium.FPDFFont_GetIsEmbedded(font) == 1:
                characters_by_object[address] = set()
                continue
            key = ctypes.addressof(font.contents)
            if key not in fonts:
                is_symbolic = bool(pdfium.FPDFFont_GetFlags(font) & _SYMBOLIC)
                family = get_family(font)
                fonts[key] = _UsedFont(family, is_symbolic, set())
            characters_by_object[address] = fonts[key].characters
        if not has_no_unicode:
            characters_by_object[address].add(character)
    return [font for font in fonts.values() if font.family not in PDFIUM_FAMILIES]


def get_family(font: Any) -> str:
    """Return the normalized family of a pdfium font.

    Returns "" if it has no name, or a name of 256 bytes or more.
    """
    buffer = ctypes.create_string_buffer(256)
    length = pdfium.FPDFFont_GetBaseFontName(font, buffer, len(buffer))
    is_whole = 0 < length <= len(buffer)
    return normalize_family(buffer.value.decode("utf-8", "replace") if is_whole else "")
