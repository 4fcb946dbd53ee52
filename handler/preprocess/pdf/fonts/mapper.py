"""Choice of installed fonts for text whose font is not embedded in the PDF.

pdfium asks a font mapper (`FPDF_SetSystemFontInfo`) for such fonts. It passes the
family and a character set. The latter is "ANSI" for all fonts except Chinese, Japanese
and Korean ones, so it does not say which characters are needed, and pdfium's own fonts
have Latin letters only. Therefore the text layer of a page is read first. If it has
other characters, the page is loaded again with fonts that have them. Text with Latin
letters only keeps pdfium's own fonts.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from handler.preprocess.pdf.fonts import wingdings
from handler.preprocess.pdf.fonts.collection import Fonts
from handler.preprocess.pdf.fonts.files import FontFace, normalize_family
from handler.preprocess.pdf.fonts.scripts import BUILT_IN, SCRIPTS

__all__ = [
    "FontChoice",
    "FontMapper",
    "choose_fonts",
    "family_of",
    "find_missing_scripts",
    "get_installed_mapper",
    "preload_fonts",
]

MAX_CHARACTERS = 20_000
"""Number of characters of a page whose fonts are examined."""
MAX_NEEDED = 64
"""Number of characters of a family that are considered when its font is chosen."""
FALLBACK_FAMILY = "helvetica"
"""Family that pdfium requests, as Arial, where a font has no glyph for a character."""
_SIGN_FAMILIES = ("wingdings2", "wingdings3", "webdings")
"""Symbol families like Wingdings for whose codes there is no substitute font."""
_FALLBACK_PIXELS = 64
_OWN_FAMILIES = ("symbol", "zapfdingbats")
_SYMBOLIC = 1 << 2
"""Flag of a font descriptor: the font has characters outside the standard Latin set."""
_SAMPLES = {
    script.charset: tuple(map(ord, script.sample))
    for script in SCRIPTS
    if script.charset is not None
}
_COLLECTION_TABLE = int.from_bytes(b"ttcf", "big")


@dataclass
class _Source:
    """A font that is passed to pdfium."""

    name: str
    face: FontFace
    data: Callable[[], bytes | mmap.mmap]


@dataclass(frozen=True, slots=True)
class FontChoice:
    """The characters that the fonts of a page must have if they are not embedded."""

    by_order: tuple[tuple[int, ...], ...] = ()
    """Characters of each font in the order in which pdfium requests them; () if any
    font will do."""
    by_family: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Characters of each family, if the order is unknown."""
    fallback: tuple[int, ...] = ()
    """Characters that their own font lacks, for the font that replaces it."""
    has_wingdings_fallback: bool = False
    """True if the fallback font must also have the codes of Wingdings."""


class FontMapper:
    """Font mapper that pdfium calls. Only one can be installed at a time."""

    def __init__(self, fonts: Fonts) -> None:
        self.fonts = fonts
        self.requested_families: list[str] = []
        """Families that pdfium requested since the last call of `use`, in order."""
        self._choice = FontChoice()
        self._is_loading_fallbacks = False
        self._lacks_wingdings = False
        self._sources: list[_Source] = []
        self._numbers: dict[str, int] = {}
        kinds = dict(pdfium.FPDF_SYSFONTINFO._fields_)
        self._info = pdfium.FPDF_SYSFONTINFO(
            version=1,
            MapFont=kinds["MapFont"](self._map_font),
            GetFontData=kinds["GetFontData"](self._get_font_data),
            GetFaceName=kinds["GetFaceName"](self._get_face_name),
            DeleteFont=kinds["DeleteFont"](self._delete_font),
        )

    def install(self) -> None:
        """Register this mapper with pdfium. It must outlive the library."""
        pdfium.FPDF_SetSystemFontInfo(self._info)

    def use(self, choice: FontChoice | None) -> None:
        """Choose fonts by `choice` for the page that is loaded next."""
        self.requested_families.clear()
        self._choice = choice or FontChoice()
        self._lacks_wingdings = False

    def load_fallbacks(self, page: pypdfium2.PdfPage) -> None:
        """Let pdfium request the fonts of a page's missing glyphs before rendering.

        If the flags of a Wingdings font say that it has letters, pdfium has no names
        for most of its codes and requests Arial for them. It requests Arial for
        annotations too, so this first pass renders the page without annotations.
        """
        if not self._choice.has_wingdings_fallback:
            return
        self._is_loading_fallbacks = True
        try:
            scale = _FALLBACK_PIXELS / max(page.get_size())
            page.render(scale=scale, may_draw_forms=False, draw_annots=False).close()
        finally:
            self._is_loading_fallbacks = False

    def families_drawn_as_letters(self) -> frozenset[str]:
        """Return the symbol families of the page for which there is no substitute.

        pdfium renders letters instead of their symbols.
        """
        families = set(self.requested_families).intersection(
            (*_SIGN_FAMILIES, wingdings.FAMILY)
        )
        # Check for a substitute only if needed, because that reads all character maps.
        if wingdings.FAMILY in families and not (
            self._lacks_wingdings or self.fonts.find_for_wingdings() is None
        ):
            families.remove(wingdings.FAMILY)
        return frozenset(families)

    def choose(
        self, name: str, is_bold: bool, is_italic: bool, charset: int
    ) -> tuple[FontFace, bool] | None:
        """Return the face for a font name, and whether it must have Wingdings' codes.

        Returns None if pdfium should use a font of its own. `charset` is one of
        pdfium's FXFONT_..._CHARSET constants.
        """
        family, place = normalize_family(name), len(self.requested_families)
        is_wingdings = family == wingdings.FAMILY
        # pdfium requests an unknown symbol font a second time as an ordinary font.
        is_again = charset == pdfium.FXFONT_SYMBOL_CHARSET and not is_wingdings
        if is_again or family in _OWN_FAMILIES:
            return None
        self.requested_families.append(family)
        choice = self._choice
        needed: Sequence[int] = choice.by_family.get(family, ())
        if charset in _SAMPLES:
            needed = _SAMPLES[charset]
        elif place < len(choice.by_order):
            needed = choice.by_order[place]
        elif family == FALLBACK_FAMILY:
            needed = needed or choice.fallback
        if self._is_loading_fallbacks and family == FALLBACK_FAMILY:
            is_wingdings = self._can_share_fallback(choice.fallback)
            self._lacks_wingdings = not is_wingdings
        if is_wingdings:
            face = self.fonts.find_for_wingdings()
        elif charset in _SAMPLES:
            face = self.fonts.find_for_characters(needed, is_bold, is_italic)
        else:
            face = self.fonts.find_for_family(family, needed, is_bold, is_italic)
        return None if face is None else (face, is_wingdings)

    def _can_share_fallback(self, needed: Sequence[int]) -> bool:
        """True if the substitute for Wingdings can also serve as the fallback font.

        It can if it has all characters of `needed` that the best other font has.
        """
        signs = self.fonts.find_for_wingdings()
        if signs is None:
            return False
        other = self.fonts.find_for_characters(needed) if needed else None
        return other is None or all(
            signs.characters.glyph(each) or not other.characters.glyph(each)
            for each in needed
        )

    def _map_font(
        self,
        _this: Any,
        weight: int,
        is_italic: int,
        charset: int,
        _pitch: int,
        name: Any,
        _exact: Any,
    ) -> int | None:
        # An exception in a callback would be printed and ignored. With None, pdfium
        # uses a font of its own.
        try:
            text = ctypes.string_at(name).decode("utf-8", "replace")
            chosen = self.choose(text, weight >= 600, bool(is_italic), charset)
            if chosen is None:
                return None
            face, is_wingdings = chosen
            return self._wingdings_number(face) if is_wingdings else self._number(face)
        except Exception:
            return None

    def _number(self, face: FontFace) -> int:
        style = " bold" * face.is_bold + " italic" * face.is_italic
        return self._add(
            _Source(face.family + style, face, lambda: self.fonts.read(face))
        )

    def _wingdings_number(self, face: FontFace) -> int:
        name = f"substitute for {wingdings.FAMILY}"
        others = self._choice.fallback if self._is_loading_fallbacks else ()
        if others:
            # Built again for each request, because there are too many combinations to
            # cache.
            name += "".join(f" {each:x}" for each in others)
            return self._add(
                _Source(name, face, lambda: self._wingdings_font(face, others))
            )
        if name not in self._numbers:
            data = self._wingdings_font(face)
            self._add(_Source(name, face, lambda: data))
        return self._numbers[name]

    def _wingdings_font(self, face: FontFace, others: Iterable[int] = ()) -> bytes:
        data = bytes(self.fonts.read(face))
        return wingdings.with_wingdings_codes(face, data, others)

    def _add(self, source: _Source) -> int:
        if source.name not in self._numbers:
            self._sources.append(source)
            self._numbers[source.name] = len(self._sources)
        return self._numbers[source.name]

    def _get_font_data(
        self, _this: Any, number: int, table: int, buffer: Any, size: int
    ) -> int:
        try:
            source = self._sources[number - 1]
            is_collection = source.face.is_collection
            if table not in (0, _COLLECTION_TABLE):
                return 0
            if table == _COLLECTION_TABLE and not is_collection:
                return 0
            data = source.data()
            # For a face in a collection, pdfium derives the face's offset from the
            # size that is returned here.
            length = len(data) - (source.face.offset if table == 0 else 0)
            if buffer and size:
                # pdfium may request only the beginning of a collection, for a checksum.
                part = data[: min(size, length)]
                ctypes.memmove(buffer, part, len(part))
            return length
        except Exception:
            return 0

    def _get_face_name(self, _this: Any, number: int, buffer: Any, size: int) -> int:
        name = self._sources[number - 1].name.encode() + b"\0"
        if buffer and len(name) <= size:
            ctypes.memmove(buffer, name, len(name))
        return len(name)

    def _delete_font(self, _this: Any, number: int) -> None:
        """Keep the font, because pdfium may request it again."""


@lru_cache(maxsize=1)
def get_installed_mapper() -> FontMapper:
    """Return the font mapper of this process, and install it at the first call."""
    mapper = FontMapper(Fonts())
    mapper.install()
    return mapper


def preload_fonts() -> None:
    """Map fonts for all scripts into memory, before the right to open files is lost."""
    get_installed_mapper().fonts.preload()


def find_missing_scripts() -> list[str]:
    """Return the names of scripts that cannot be rendered without embedded fonts."""
    return get_installed_mapper().fonts.find_missing_scripts()


def choose_fonts(page: pypdfium2.PdfPage, mapper: FontMapper) -> FontChoice | None:
    """Return the fonts that a page needs; None if pdfium's own fonts are sufficient.

    Call it with a page that was loaded after `mapper.use(None)`. A document keeps the
    fonts it has loaded, so reopen it after `mapper.use` to render with the choice.
    """
    if not mapper.requested_families:
        return None
    textpage = page.get_textpage()
    try:
        num = min(textpage.count_chars(), MAX_CHARACTERS)
        text = textpage.get_text_range(0, num, errors="ignore") if num > 0 else ""
        if wingdings.FAMILY not in mapper.requested_families and not _foreign(
            map(ord, set(text))
        ):
            return None
        used = _used_fonts(textpage, num)
    finally:
        textpage.close()
    needed = [_needed(font) for font in used]
    leftover: set[int] = set()
    by_family: dict[str, tuple[int, ...]] = {}
    for font, characters in zip(used, needed, strict=True):
        face = mapper.fonts.find_for_family(font.family, characters, False, False)
        leftover.update(
            character
            for character in _foreign(characters)
            if face is None or not face.characters.glyph(character)
        )
        both = dict.fromkeys((*by_family.get(font.family, ()), *characters))
        by_family[font.family] = tuple(both)[:MAX_NEEDED]
    has_wingdings_fallback = any(
        font.is_wingdings and not font.is_symbolic for font in used
    )
    if not any(needed) and not has_wingdings_fallback:
        return None
    # pdfium requests fonts in the order of the content. If it requested others too,
    # which render nothing, the order cannot be matched.
    has_order = [font.family for font in used] == mapper.requested_families
    return FontChoice(
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


def _foreign(characters: Iterable[int]) -> set[int]:
    """Return the characters that pdfium's own fonts lack."""
    return {each for each in characters if each > 0x20 and each not in BUILT_IN}


def _needed(font: _UsedFont) -> tuple[int, ...]:
    """Return the characters a font must have; () if pdfium's own fonts have them."""
    foreign = sorted(_foreign(font.characters))
    if not foreign or font.is_wingdings:
        return ()
    latin = sorted(font.characters & BUILT_IN)[: MAX_NEEDED // 4]
    return (*foreign[: MAX_NEEDED - len(latin)], *latin)


def _used_fonts(textpage: pypdfium2.PdfTextPage, num: int) -> list[_UsedFont]:
    """Return the fonts of the first `num` characters in the order of their first use.

    Embedded fonts, and fonts that pdfium never requests, are omitted.
    """
    found: dict[int, _UsedFont] = {}
    of_object: dict[int, set[int]] = {}
    for index in range(num):
        character = pdfium.FPDFText_GetUnicode(textpage, index)
        handle = pdfium.FPDFText_GetTextObject(textpage, index)
        if character <= 0x20 or not handle:
            continue
        # Without a map to Unicode this is a character code, which does not tell the
        # glyph that is needed.
        is_code = pdfium.FPDFText_HasUnicodeMapError(textpage, index) == 1
        address = ctypes.addressof(handle.contents)
        if address not in of_object:
            font = pdfium.FPDFTextObj_GetFont(handle)
            if not font or pdfium.FPDFFont_GetIsEmbedded(font) == 1:
                of_object[address] = set()
                continue
            key = ctypes.addressof(font.contents)
            if key not in found:
                is_symbolic = bool(pdfium.FPDFFont_GetFlags(font) & _SYMBOLIC)
                family = family_of(font)
                found[key] = _UsedFont(family, is_symbolic, set())
            of_object[address] = found[key].characters
        if not is_code:
            of_object[address].add(character)
    return [font for font in found.values() if font.family not in _OWN_FAMILIES]


def family_of(font: Any) -> str:
    """Return the normalized family of a pdfium font; "" if it has no name."""
    buffer = ctypes.create_string_buffer(256)
    length = pdfium.FPDFFont_GetBaseFontName(font, buffer, len(buffer))
    is_whole = 0 < length <= len(buffer)
    return normalize_family(buffer.value.decode("utf-8", "replace") if is_whole else "")
