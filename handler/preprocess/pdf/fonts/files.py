"""Parsing of font files: their faces and the characters of each face.

It reads the tables of TrueType, OpenType and TrueType collection files that are needed
to choose a font. pdfium renders the glyphs. Offsets are those of the OpenType
specification.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

__all__ = ["FONT_FOLDERS", "FontFace", "find_faces", "normalize_family"]

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
"""Folders with the installed fonts. Confined decoders may read them."""

MAX_FACES = 4_000
"""Limit on the number of faces. A desktop with a full TeX has about 2,000."""
MAX_FILE_BYTES = 64 * 1024 * 1024

_SUFFIXES = (".ttf", ".ttc", ".otf", ".otc")
_COLLECTION = b"ttcf"
_UNICODE_CMAPS = ((3, 10), (0, 6), (0, 4), (3, 1), (0, 3), (0, 2), (0, 1), (0, 0))
"""Platform and encoding of Unicode character maps, the largest repertoire first."""
_EQUIVALENTS = {
    "arial": "helvetica",
    "timesnew": "times",
    "timesnewroman": "times",
    "couriernew": "courier",
}
_STYLE_ENDINGS = ("mt", "regular", "roman", "italic", "oblique", "bold", "mt", "ps")


@dataclass(frozen=True)
class FontFace:
    """A face in a font file. Some properties read the file at the first access."""

    path: Path
    offset: int
    """Offset of the face's table directory. It is above 0 in collections only."""
    family: str
    """Name of the family as `normalize_family` returns it."""
    is_bold: bool
    is_italic: bool
    tables: dict[bytes, tuple[int, int]] = field(repr=False, hash=False)
    """Offset and length in bytes of each table by its tag."""

    @cached_property
    def is_collection(self) -> bool:
        """True if the file is a TrueType collection, which may have several faces.

        Raises OSError at the first access if the file is unreadable.
        """
        with self.path.open("rb") as file:
            return file.read(4) == _COLLECTION

    def read_file(self) -> bytes:
        """Return the content of the file. Raises OSError if it is unreadable."""
        return self.path.read_bytes()

    def read_table(self, tag: bytes) -> bytes:
        """Read a table from the file; empty if there is none.

        Raises OSError if the file is unreadable.
        """
        with self.path.open("rb") as file:
            return _read_table(file.fileno(), self.tables, tag)

    @cached_property
    def characters(self) -> CharacterMap:
        """The face's character map; empty if it cannot be read."""
        try:
            return CharacterMap(self.read_table(b"cmap"))
        except (OSError, struct.error):
            return CharacterMap(b"")


class CharacterMap:
    """Characters of a face: a `cmap` table that is searched without being expanded.

    The map of format 4 or 12 with the largest repertoire is used. A table without one
    has no characters. Raises struct.error for a table with a truncated directory.
    """

    def __init__(self, table: bytes) -> None:
        self._table = table
        self._start, self._format = 0, 0
        if len(table) < 4:
            return
        (num_maps,) = struct.unpack_from(">H", table, 2)
        maps = {}
        for index in range(num_maps):
            platform, encoding, start = struct.unpack_from(">HHL", table, 4 + 8 * index)
            (kind,) = struct.unpack_from(">H", table, start)
            if kind in (4, 12):
                maps[platform, encoding] = start, kind
        for key in _UNICODE_CMAPS:
            if key in maps:
                self._start, self._format = maps[key]
                return

    def find_glyph(self, character: int) -> int:
        """Return the glyph index of a code point; 0 if there is none."""
        try:
            if self._format == 4:
                return self._find_glyph_in_segments(character)
            if self._format == 12:
                return self._find_glyph_in_groups(character)
        except struct.error:
            pass
        return 0

    def count_supported(self, characters: Iterable[int]) -> int:
        """Return the number of the code points `characters` that have a glyph."""
        return sum(self.find_glyph(character) != 0 for character in characters)

    def _find_glyph_in_segments(self, character: int) -> int:
        """Return the glyph index in a map of format 4, which consists of segments."""
        if character > 0xFFFF:
            return 0
        table, start = self._table, self._start
        (doubled,) = struct.unpack_from(">H", table, start + 6)
        ends = start + 14
        starts = ends + doubled + 2
        low, high = 0, doubled // 2
        while low < high:
            middle = (low + high) // 2
            (end,) = struct.unpack_from(">H", table, ends + 2 * middle)
            low, high = (middle + 1, high) if end < character else (low, middle)
        if low * 2 >= doubled:
            return 0
        (first,) = struct.unpack_from(">H", table, starts + 2 * low)
        if first > character:
            return 0
        (delta,) = struct.unpack_from(">H", table, starts + doubled + 2 * low)
        place = starts + 2 * doubled + 2 * low
        (distance,) = struct.unpack_from(">H", table, place)
        if distance == 0:
            return int(character + delta) & 0xFFFF
        (glyph,) = struct.unpack_from(
            ">H", table, place + distance + 2 * (character - first)
        )
        return (glyph + delta) & 0xFFFF if glyph else 0

    def _find_glyph_in_groups(self, character: int) -> int:
        """Return the glyph index in a map of format 12, which consists of groups."""
        table, start = self._table, self._start
        (num_groups,) = struct.unpack_from(">L", table, start + 12)
        low, high = 0, num_groups
        while low < high:
            middle = (low + high) // 2
            first, last, glyph = struct.unpack_from(
                ">LLL", table, start + 16 + 12 * middle
            )
            if character < first:
                high = middle
            elif character > last:
                low = middle + 1
            else:
                return int(glyph + character - first)
        return 0


def normalize_family(name: str) -> str:
    """Return the family of a font name as letters and digits in lower case.

    `ABCDEF+Calibri Light,Bold` and `CalibriLight-Bold` both give `calibrilight`. As in
    pdfium, Arial, Times New Roman and Courier New are mapped to Helvetica, Times and
    Courier.
    """
    if len(name) > 7 and name[6] == "+" and name[:6].isupper():
        name = name[7:]
    letters = "".join(each for each in name.lower() if each.isalnum())
    for ending in _STYLE_ENDINGS:
        letters = letters.removesuffix(ending) or letters
    return _EQUIVALENTS.get(letters, letters)


def find_faces(folders: Iterable[Path]) -> list[FontFace]:
    """Return the faces of all font files below `folders`, sorted by path.

    Unreadable files, files above `MAX_FILE_BYTES` and files that are not fonts are
    skipped. Returns at most `MAX_FACES` faces.
    """
    faces: list[FontFace] = []
    for folder in folders:
        for path in sorted(_iter_font_paths(folder)):
            try:
                faces.extend(_parse_faces(path))
            except (OSError, struct.error, UnicodeDecodeError):
                continue
            if len(faces) >= MAX_FACES:
                return faces[:MAX_FACES]
    return faces


def _iter_font_paths(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        for name in names:
            if name.lower().endswith(_SUFFIXES):
                yield Path(root, name)


def _parse_faces(path: Path) -> Iterator[FontFace]:
    """Yield the faces of a font file, of a collection up to 64.

    Raises OSError, struct.error or UnicodeDecodeError for an unreadable or damaged one.
    """
    with path.open("rb") as file:
        descriptor = file.fileno()
        if os.fstat(descriptor).st_size > MAX_FILE_BYTES:
            return
        offsets: tuple[int, ...] = (0,)
        if os.pread(descriptor, 4, 0) == _COLLECTION:
            (num_faces,) = struct.unpack(">L", os.pread(descriptor, 4, 8))
            num_faces = min(num_faces, 64)
            offsets = struct.unpack(
                f">{num_faces}L", os.pread(descriptor, 4 * num_faces, 12)
            )
        for offset in offsets:
            if (face := _parse_face(path, descriptor, offset)) is not None:
                yield face


def _parse_face(path: Path, descriptor: int, offset: int) -> FontFace | None:
    """Return the face whose table directory is at `offset`.

    Returns None if it has no family name or no character map.
    """
    _, num_tables = struct.unpack(">LH", os.pread(descriptor, 6, offset))
    directory = os.pread(descriptor, 16 * num_tables, offset + 12)
    tables = {
        tag: (start, length)
        for tag, _, start, length in struct.iter_unpack(">4sLLL", directory)
    }
    family = _parse_family_name(_read_table(descriptor, tables, b"name"))
    if not family or b"cmap" not in tables:
        return None
    os2 = _read_table(descriptor, tables, b"OS/2")
    selection = struct.unpack_from(">H", os2, 62)[0] if len(os2) >= 64 else 0
    return FontFace(
        path=path,
        offset=offset,
        family=normalize_family(family),
        is_bold=bool(selection & 1 << 5),
        is_italic=bool(selection & 1),
        tables=tables,
    )


def _read_table(
    descriptor: int, tables: dict[bytes, tuple[int, int]], tag: bytes
) -> bytes:
    start, length = tables.get(tag, (0, 0))
    return os.pread(descriptor, min(length, MAX_FILE_BYTES), start)


def _parse_family_name(table: bytes) -> str:
    """Return the family name in a `name` table, preferably the English one, or ""."""
    if len(table) < 6:
        return ""
    num_names, storage = struct.unpack_from(">HH", table, 2)
    best = ""
    for index in range(num_names):
        platform, _, language, kind, length, start = struct.unpack_from(
            ">6H", table, 6 + 12 * index
        )
        if kind != 1:
            continue
        raw = table[storage + start : storage + start + length]
        if platform == 1:
            best = best or raw.decode("latin-1")
        elif language in (0, 0x409) or not best:
            best = raw.decode("utf-16-be")
            if language in (0, 0x409):
                return best
    return best
