"""Choose fonts of the machine for text whose font is not embedded in the PDF.

pdfium asks a font mapper (`FPDF_SetSystemFontInfo`) for such fonts. It names the family,
but for all fonts other than Chinese, Japanese and Korean ones it says "ANSI", whatever
the text is, and its own Latin fonts have Latin letters only. So the text of a page is
looked at, and where it has other characters the page is loaded again with fonts that
have them. Text in Latin letters is drawn by pdfium's own fonts.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from handler.preprocess.pdf import wingdings
from handler.preprocess.pdf.font_files import (
    FONT_FOLDERS,
    FontFace,
    find_faces,
    normalize_family,
)
from handler.preprocess.pdf.scripts import BUILT_IN, SCRIPTS

__all__ = ["FontMapper", "Fonts", "load_page", "missing_scripts", "preload_fonts"]

MAX_CHARACTERS = 20_000
"""Characters of a page whose fonts are looked at; more are taken for like ones."""
MAX_NEEDED = 64
"""Characters of a family for which a font is chosen."""
MAX_PRELOADED_BYTES = 64 * 1024 * 1024

_PREFERRED = (
    "liberationsans",
    "arimo",
    "dejavusans",
    "notosans",
    "freesans",
    "freeserif",
    "notosanscjkjp",
    "notosanscjksc",
    "wenquanyimicrohei",
    "wenquanyizenhei",
    "droidsansfallback",
    "ipagothic",
    "nanumgothic",
)
"""Families that read well and have many scripts; the first that draws all is taken."""
_PLACEHOLDERS = ("lastresort", "adobeblank", "adobenotdef", "redacted", "unifont")
"""Families that draw signs for characters instead of the characters, or coarsely."""
_OWN_FAMILIES = ("symbol", "zapfdingbats")
_SAMPLES = {
    script.charset: tuple(map(ord, script.sample))
    for script in SCRIPTS
    if script.charset is not None
}
_COLLECTION_TABLE = int.from_bytes(b"ttcf", "big")


class Fonts:
    """The fonts in `folders`, which are read when they are first asked for."""

    def __init__(self, folders: Sequence[Path] = FONT_FOLDERS) -> None:
        self._folders = folders
        self._faces: list[FontFace] | None = None
        self._data: dict[Path, bytes | mmap.mmap] = {}

    @property
    def faces(self) -> list[FontFace]:
        """The faces in the order in which they are tried, one a family and style."""
        if self._faces is None:
            found: dict[tuple[str, bool, bool], FontFace] = {}
            for face in find_faces(self._folders):
                if not face.family.startswith(_PLACEHOLDERS):
                    key = face.family, face.is_bold, face.is_italic
                    found.setdefault(key, face)
            self._faces = sorted(found.values(), key=_rank)
        return self._faces

    def of_family(
        self, family: str, is_bold: bool, is_italic: bool
    ) -> FontFace | None:
        """Return the face of a family that is nearest in style; None without one."""
        return min(
            (face for face in self.faces if face.family == family),
            key=lambda face: (face.is_italic != is_italic) + (face.is_bold != is_bold),
            default=None,
        )

    def drawing(
        self, characters: Iterable[int], is_bold: bool = False, is_italic: bool = False
    ) -> FontFace | None:
        """Return the face that has most of `characters`, best in the style wanted.

        Returns None if no face has any that pdfium's own fonts lack.
        """
        characters = tuple(characters)
        best, best_count = None, 0
        for face in self.faces:
            count = face.characters.count(characters)
            if count > best_count:
                best, best_count = face, count
            if count == len(characters):
                break
        foreign = [character for character in characters if character not in BUILT_IN]
        if best is None or best.characters.count(foreign) == 0:
            return None
        styled = self.of_family(best.family, is_bold, is_italic)
        if styled is None or styled.characters.count(characters) < best_count:
            return best
        return styled

    @lru_cache(maxsize=1)  # noqa: B019 (one instance lives as long as the process)
    def for_wingdings(self) -> FontFace | None:
        """Return the face that draws most of Wingdings; None where none does."""
        return max(
            (
                face
                for face in self.faces
                if not face.is_collection
                and face.characters.count(map(ord, wingdings.SAMPLE)) > 0
            ),
            key=wingdings.draws,
            default=None,
        )

    def missing_scripts(self) -> list[str]:
        """Return the names of the scripts that no font draws completely."""
        missing = [
            script.name
            for script in SCRIPTS
            if not any(
                face.characters.count(map(ord, script.sample)) == len(script.sample)
                for face in self.faces
            )
        ]
        if self.for_wingdings() is None:
            missing.append("Wingdings")
        return missing

    def preload(self) -> None:
        """Map into memory one font a script, as no file can be opened later."""
        chosen = [self.drawing(map(ord, script.sample)) for script in SCRIPTS]
        kept: list[FontFace] = []
        size = 0
        for face in [*chosen, self.for_wingdings()]:
            if face is None or face in kept:
                continue
            try:
                if face.path not in self._data:
                    size += face.path.stat().st_size
                    if size > MAX_PRELOADED_BYTES:
                        break
                    with face.path.open("rb") as file:
                        self._data[face.path] = mmap.mmap(
                            file.fileno(), 0, access=mmap.ACCESS_READ
                        )
            except OSError:
                continue
            # Cached while the file can still be read.
            face.characters.glyph(0)
            face.is_collection  # noqa: B018
            kept.append(face)
        self._faces = sorted(kept, key=_rank)

    def read(self, face: FontFace) -> bytes | mmap.mmap:
        """Return the bytes of the face's file. Raises OSError."""
        return self._data.get(face.path) or face.read()


@dataclass
class _Source:
    """A font as it is handed to pdfium."""

    name: str
    face: FontFace
    data: Callable[[], bytes | mmap.mmap]
    tables: dict[bytes, tuple[int, int]] = field(default_factory=dict)


class FontMapper:
    """Answers pdfium's questions for fonts; one may be installed at a time."""

    def __init__(self, fonts: Fonts) -> None:
        self.fonts = fonts
        self.asked: set[str] = set()
        """Families that pdfium asked for since `forget`, but for Asian ones."""
        self.needs: dict[str, tuple[int, ...]] = {}
        """Characters that a family's font must have on the present page."""
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
        """Have pdfium ask this mapper, which must outlive the library."""
        pdfium.FPDF_SetSystemFontInfo(self._info)

    def forget(self) -> None:
        """Forget what the last page asked for and needed."""
        self.asked.clear()
        self.needs.clear()

    def choose(
        self, name: str, is_bold: bool, is_italic: bool, charset: int
    ) -> FontFace | None:
        """Return the face for a family by the name a PDF has; None: pdfium's own."""
        family = normalize_family(name)
        if charset in _SAMPLES:
            return self.fonts.drawing(_SAMPLES[charset], is_bold, is_italic)
        self.asked.add(family)
        if family in _OWN_FAMILIES:
            return None
        needed = self.needs.get(family, ())
        named = self.fonts.of_family(family, is_bold, is_italic)
        if named is not None and named.characters.count(needed) == len(needed):
            return named
        return self.fonts.drawing(needed, is_bold, is_italic) if needed else named

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
        # An exception would be printed and lost, and pdfium has fonts of its own.
        try:
            text = ctypes.string_at(name).decode("utf-8", "replace")
            if normalize_family(text) == wingdings.FAMILY:
                self.asked.add(wingdings.FAMILY)
                return self._wingdings_number()
            face = self.choose(text, weight >= 600, bool(is_italic), charset)
            return None if face is None else self._number(face)
        except Exception:
            return None

    def _number(self, face: FontFace) -> int:
        style = " bold" * face.is_bold + " italic" * face.is_italic
        return self._add(
            _Source(face.family + style, face, lambda: self.fonts.read(face))
        )

    def _wingdings_number(self) -> int | None:
        face = self.fonts.for_wingdings()
        if face is None:
            return None
        name = f"substitute for {wingdings.FAMILY}"
        if name not in self._numbers:
            data = wingdings.with_wingdings_codes(face, bytes(self.fonts.read(face)))
            self._add(_Source(name, face, lambda: data))
        return self._numbers[name]

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
            # For a face in a collection, what pdfium takes for the size of the font
            # tells where in the file it begins.
            length = len(data) - (source.face.offset if table == 0 else 0)
            if buffer and size:
                # Less is wanted for a checksum of a collection's beginning.
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
        """Do nothing: a font that was used may be asked for again."""


@lru_cache(maxsize=1)
def _installed() -> FontMapper:
    mapper = FontMapper(Fonts())
    mapper.install()
    return mapper


def preload_fonts() -> None:
    """Load fonts for all scripts now, for a process that can open no file later."""
    _installed().fonts.preload()


def missing_scripts() -> list[str]:
    """Return the names of scripts whose text is blank if its font is not embedded."""
    return _installed().fonts.missing_scripts()


def load_page(
    document: pypdfium2.PdfDocument, index: int, mapper: FontMapper | None = None
) -> pypdfium2.PdfPage:
    """Return page `index`, counted from 0, with fonts that have its characters.

    Fonts are chosen as they are loaded, so keep no other page of the document open.
    `mapper`, if not the process's own, must be installed.
    """
    mapper = mapper or _installed()
    mapper.forget()
    page = document[index]
    if not mapper.asked:
        return page
    needs = _needed_characters(page, mapper)
    if needs:
        mapper.needs = needs
        # pdfium drops a document's fonts with the last page that uses them.
        page.close()
        page = document[index]
    return page


def _needed_characters(
    page: pypdfium2.PdfPage, mapper: FontMapper
) -> dict[str, tuple[int, ...]]:
    """Return the characters of each family asked for that needs another font."""
    textpage = page.get_textpage()
    try:
        num = min(textpage.count_chars(), MAX_CHARACTERS)
        text = textpage.get_text_range(0, num, errors="ignore") if num > 0 else ""
        if BUILT_IN.issuperset(map(ord, "".join(set(text).difference("\r\n\t")))):
            return {}
        families = _characters_by_family(textpage, num)
    finally:
        textpage.close()
    needs = {}
    leftover: set[int] = set()
    for family in mapper.asked.difference(_OWN_FAMILIES, (wingdings.FAMILY,)):
        characters = families.get(family, set())
        foreign = characters - BUILT_IN
        if not foreign:
            continue
        latin = sorted(characters & BUILT_IN)[: MAX_NEEDED // 4]
        needs[family] = (*sorted(foreign)[: MAX_NEEDED - len(latin)], *latin)
        face = mapper.fonts.drawing(needs[family])
        leftover.update(
            foreign
            if face is None
            else (each for each in foreign if not face.characters.glyph(each))
        )
    # pdfium draws characters that a font lacks with the one it has for Arial.
    if leftover and "helvetica" not in needs:
        needs["helvetica"] = tuple(sorted(leftover)[:MAX_NEEDED])
    return needs


def _characters_by_family(
    textpage: pypdfium2.PdfTextPage, num: int
) -> dict[str, set[int]]:
    """Return the characters of each family, control and space characters left out."""
    families: dict[str, set[int]] = {}
    of_font: dict[bytes, set[int]] = {}
    buffer = ctypes.create_string_buffer(128)
    flags = ctypes.c_int()
    for index in range(num):
        character = pdfium.FPDFText_GetUnicode(textpage, index)
        if character <= 0x20:
            continue
        length = pdfium.FPDFText_GetFontInfo(textpage, index, buffer, 128, flags)
        if not 0 < length <= 128:
            continue
        characters = of_font.get(buffer.value)
        if characters is None:
            family = normalize_family(buffer.value.decode("utf-8", "replace"))
            characters = families.setdefault(family, set())
            of_font[buffer.value] = characters
        characters.add(character)
    return families


def _rank(face: FontFace) -> tuple[int, int, str]:
    place = (
        _PREFERRED.index(face.family) if face.family in _PREFERRED else len(_PREFERRED)
    )
    return place, face.is_bold + face.is_italic, face.family
