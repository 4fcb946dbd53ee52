"""Font mapper that gives pdfium installed fonts for text without an embedded font.

pdfium calls the mapper (`FPDF_SetSystemFontInfo`) with the family and a character set.
The latter is "ANSI" for all fonts except Chinese, Japanese and Korean ones, so it does
not say which characters are needed. `page_fonts` determines them before rendering.
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
from handler.preprocess.pdf.fonts.collection import FontCollection
from handler.preprocess.pdf.fonts.files import FontFace, normalize_family
from handler.preprocess.pdf.fonts.scripts import SCRIPTS

__all__ = [
    "PDFIUM_FAMILIES",
    "FontMapper",
    "FontRequirements",
    "find_missing_scripts",
    "get_installed_mapper",
    "preload_fonts",
]

FALLBACK_FAMILY = "helvetica"
"""Family that pdfium requests, as Arial, where a font has no glyph for a character."""
_UNSUPPORTED_SYMBOL_FAMILIES = ("wingdings2", "wingdings3", "webdings")
"""Symbol families like Wingdings for whose codes there is no substitute font."""
_FALLBACK_PIXELS = 64
PDFIUM_FAMILIES = ("symbol", "zapfdingbats")
"""Symbol families for which pdfium uses its own fonts."""
_SAMPLES_BY_CHARSET = {
    script.charset: tuple(map(ord, script.sample))
    for script in SCRIPTS
    if script.charset is not None
}
_COLLECTION_TABLE = int.from_bytes(b"ttcf", "big")


@dataclass
class _FontSource:
    """A font that is passed to pdfium."""

    name: str
    face: FontFace
    read: Callable[[], bytes | mmap.mmap]
    """Returns the content of the font file. May raise OSError."""


@dataclass(frozen=True, slots=True)
class FontRequirements:
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

    def __init__(self, fonts: FontCollection) -> None:
        self.fonts = fonts
        self.requested_families: list[str] = []
        """Families that pdfium requested for the present page, in order."""
        self._requirements = FontRequirements()
        self._is_loading_fallbacks = False
        self._lacks_wingdings = False
        """True if no font can serve as Wingdings and as the page's fallback font."""
        self._sources: list[_FontSource] = []
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
        """Make pdfium use this mapper instead of the previous one.

        Keep a reference to the mapper as long as pdfium is in use.
        """
        pdfium.FPDF_SetSystemFontInfo(self._info)

    def set_requirements(self, requirements: FontRequirements | None) -> None:
        """Set the characters that the fonts of the page that is loaded next must have.

        Clears `requested_families`. With None, any characters will do.
        """
        self.requested_families.clear()
        self._requirements = requirements or FontRequirements()
        self._lacks_wingdings = False

    def request_fallback_fonts(self, page: pypdfium2.PdfPage) -> None:
        """Let pdfium request the fonts of a page's missing glyphs before rendering.

        If the flags of a Wingdings font say that it has letters, pdfium has no names
        for most of its codes and requests Arial for them. It requests Arial for
        annotations too, so this first pass renders the page without annotations. Does
        nothing unless the requirements have `has_wingdings_fallback`.
        """
        if not self._requirements.has_wingdings_fallback:
            return
        self._is_loading_fallbacks = True
        try:
            scale = _FALLBACK_PIXELS / max(page.get_size())
            page.render(scale=scale, may_draw_forms=False, draw_annots=False).close()
        finally:
            self._is_loading_fallbacks = False

    def list_families_drawn_as_letters(self) -> frozenset[str]:
        """Return the requested symbol families for which there is no substitute.

        pdfium renders letters instead of their symbols. Call it after the page has been
        rendered.
        """
        families = set(self.requested_families).intersection(
            (*_UNSUPPORTED_SYMBOL_FAMILIES, wingdings.FAMILY)
        )
        # Check for a substitute only if needed, because that reads all character maps.
        if wingdings.FAMILY in families and not (
            self._lacks_wingdings or self.fonts.find_for_wingdings() is None
        ):
            families.remove(wingdings.FAMILY)
        return frozenset(families)

    def choose_face(
        self, name: str, is_bold: bool, is_italic: bool, charset: int
    ) -> tuple[FontFace, bool] | None:
        """Return the face for a font name, and whether it must have Wingdings' codes.

        Returns None if pdfium should use a font of its own. `charset` is one of
        pdfium's FXFONT_..._CHARSET constants. Adds the family to `requested_families`,
        because the position of a request decides which characters the font must have.
        """
        family, position = normalize_family(name), len(self.requested_families)
        is_wingdings = family == wingdings.FAMILY
        # pdfium requests an unknown symbol font a second time as an ordinary font.
        is_repeated = charset == pdfium.FXFONT_SYMBOL_CHARSET and not is_wingdings
        if is_repeated or family in PDFIUM_FAMILIES:
            return None
        self.requested_families.append(family)
        requirements = self._requirements
        needed: Sequence[int] = requirements.by_family.get(family, ())
        if charset in _SAMPLES_BY_CHARSET:
            needed = _SAMPLES_BY_CHARSET[charset]
        elif position < len(requirements.by_order):
            needed = requirements.by_order[position]
        elif family == FALLBACK_FAMILY:
            needed = needed or requirements.fallback
        if self._is_loading_fallbacks and family == FALLBACK_FAMILY:
            is_wingdings = self._can_share_fallback(requirements.fallback)
            self._lacks_wingdings = not is_wingdings
        if is_wingdings:
            face = self.fonts.find_for_wingdings()
        elif charset in _SAMPLES_BY_CHARSET:
            face = self.fonts.find_for_characters(needed, is_bold, is_italic)
        else:
            face = self.fonts.find_for_family(family, needed, is_bold, is_italic)
        return None if face is None else (face, is_wingdings)

    def _can_share_fallback(self, needed: Sequence[int]) -> bool:
        """Return True if Wingdings' substitute can also serve as the fallback font.

        It can if it has all characters of `needed` that the best other font has.
        """
        signs = self.fonts.find_for_wingdings()
        if signs is None:
            return False
        other = self.fonts.find_for_characters(needed) if needed else None
        return other is None or all(
            signs.characters.find_glyph(each) or not other.characters.find_glyph(each)
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
        """Return the number of the font for a request of pdfium, or None."""
        # An exception in a callback would be printed and ignored. With None, pdfium
        # uses a font of its own.
        try:
            text = ctypes.string_at(name).decode("utf-8", "replace")
            chosen = self.choose_face(text, weight >= 600, bool(is_italic), charset)
            if chosen is None:
                return None
            face, is_wingdings = chosen
            return (
                self._register_wingdings_font(face)
                if is_wingdings
                else self._register_face(face)
            )
        except Exception:
            return None

    def _register_face(self, face: FontFace) -> int:
        style = " bold" * face.is_bold + " italic" * face.is_italic
        return self._register_source(
            _FontSource(face.family + style, face, lambda: self.fonts.read(face))
        )

    def _register_wingdings_font(self, face: FontFace) -> int:
        """Return the number of the substitute for Wingdings, adding it if needed."""
        name = f"substitute for {wingdings.FAMILY}"
        others = self._requirements.fallback if self._is_loading_fallbacks else ()
        if others:
            # Built again for each request, because there are too many combinations to
            # cache.
            name += "".join(f" {each:x}" for each in others)
            return self._register_source(
                _FontSource(
                    name, face, lambda: self._build_wingdings_font(face, others)
                )
            )
        if name not in self._numbers:
            data = self._build_wingdings_font(face)
            self._register_source(_FontSource(name, face, lambda: data))
        return self._numbers[name]

    def _build_wingdings_font(
        self, face: FontFace, others: Iterable[int] = ()
    ) -> bytes:
        data = bytes(self.fonts.read(face))
        return wingdings.build_wingdings_font(face, data, others)

    def _register_source(self, source: _FontSource) -> int:
        """Return the number of the font with the source's name, adding it if needed."""
        if source.name not in self._numbers:
            self._sources.append(source)
            self._numbers[source.name] = len(self._sources)
        return self._numbers[source.name]

    def _get_font_data(
        self, _this: Any, number: int, table: int, buffer: Any, size: int
    ) -> int:
        """Copy font data to `buffer`, and return their whole size in bytes.

        Returns 0 if the font has no such data or cannot be read. `table` is 0 for the
        whole font, or a tag; of the tags, only that of collections is supported.
        """
        try:
            source = self._sources[number - 1]
            is_collection = source.face.is_collection
            if table not in (0, _COLLECTION_TABLE):
                return 0
            if table == _COLLECTION_TABLE and not is_collection:
                return 0
            data = source.read()
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
        """Copy the font's name to `buffer` if it fits, and return its size in bytes."""
        name = self._sources[number - 1].name.encode() + b"\0"
        if buffer and len(name) <= size:
            ctypes.memmove(buffer, name, len(name))
        return len(name)

    def _delete_font(self, _this: Any, number: int) -> None:
        """Keep the font, because pdfium may request it again."""


@lru_cache(maxsize=1)
def get_installed_mapper() -> FontMapper:
    """Return the font mapper of this process, and install it at the first call."""
    mapper = FontMapper(FontCollection())
    mapper.install()
    return mapper


def preload_fonts() -> None:
    """Map fonts for all scripts into memory, before the right to open files is lost.

    Later choices are limited to these fonts.
    """
    get_installed_mapper().fonts.preload()


def find_missing_scripts() -> list[str]:
    """Return the names of scripts that cannot be rendered without embedded fonts.

    Scans the folders of fonts and installs the font mapper if that is not yet done.
    """
    return get_installed_mapper().fonts.find_missing_scripts()
