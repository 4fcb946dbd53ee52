"""Installed fonts, and the choice of one for given characters."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from handler.preprocess.pdf.fonts import wingdings
from handler.preprocess.pdf.fonts.files import FONT_FOLDERS, FontFace, find_faces
from handler.preprocess.pdf.fonts.scripts import BUILT_IN, SCRIPTS

__all__ = ["FontCollection"]

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
"""Legible families with many scripts, in the order of preference. The first one that
has all required characters is used."""
_PLACEHOLDERS = ("lastresort", "adobeblank", "adobenotdef", "redacted", "unifont")
"""Prefixes of families that render placeholders instead of characters, or bitmaps."""


class FontCollection:
    """Faces of the fonts in `folders`, which are scanned at the first access."""

    def __init__(self, folders: Sequence[Path] = FONT_FOLDERS) -> None:
        self._folders = folders
        self._faces: list[FontFace] | None = None
        self._data: dict[Path, bytes | mmap.mmap] = {}

    @property
    def faces(self) -> list[FontFace]:
        """The faces in the order of preference, one per family and style."""
        if self._faces is None:
            by_style: dict[tuple[str, bool, bool], FontFace] = {}
            for face in find_faces(self._folders):
                if not face.family.startswith(_PLACEHOLDERS):
                    key = face.family, face.is_bold, face.is_italic
                    by_style.setdefault(key, face)
            self._faces = sorted(by_style.values(), key=_preference)
        return self._faces

    def find_family(
        self, family: str, is_bold: bool, is_italic: bool
    ) -> FontFace | None:
        """Return the face of a family that is nearest in style; None if there is none.

        `family` is a name as `normalize_family` returns it.
        """
        return min(
            (face for face in self.faces if face.family == family),
            key=lambda face: (face.is_italic != is_italic) + (face.is_bold != is_bold),
            default=None,
        )

    def find_for_characters(
        self, characters: Iterable[int], is_bold: bool = False, is_italic: bool = False
    ) -> FontFace | None:
        """Return the face with most of the code points `characters`.

        Its style is the given one if that style of its family has as many of them.
        Returns None if no face has any of the characters that pdfium's own fonts lack,
        and if there are no such characters.
        """
        characters = tuple(characters)
        best, best_count = None, 0
        for face in self.faces:
            count = face.characters.count_supported(characters)
            if count > best_count:
                best, best_count = face, count
            if count == len(characters):
                break
        foreign = [character for character in characters if character not in BUILT_IN]
        if best is None or best.characters.count_supported(foreign) == 0:
            return None
        styled = self.find_family(best.family, is_bold, is_italic)
        if styled is None or styled.characters.count_supported(characters) < best_count:
            return best
        return styled

    def find_for_family(
        self, family: str, needed: Sequence[int], is_bold: bool, is_italic: bool
    ) -> FontFace | None:
        """Return the face of a family that is nearest in style.

        If the family is missing or lacks any of the code points `needed`, return the
        result of `find_for_characters` instead. Returns None if no face is suitable.
        """
        face = self.find_family(family, is_bold, is_italic)
        if face is not None and face.characters.count_supported(needed) == len(needed):
            return face
        return self.find_for_characters(needed, is_bold, is_italic) if needed else face

    @lru_cache(maxsize=1)  # noqa: B019 (one instance lives as long as the process)
    def find_for_wingdings(self) -> FontFace | None:
        """Return the face with characters for most codes of Wingdings.

        Collections, and faces without any character of `wingdings.SAMPLE`, are left
        out. Returns None if no face remains. The result is cached.
        """
        return max(
            (
                face
                for face in self.faces
                if not face.is_collection
                and face.characters.count_supported(map(ord, wingdings.SAMPLE)) > 0
            ),
            key=wingdings.count_drawable_codes,
            default=None,
        )

    def find_missing_scripts(self) -> list[str]:
        """Return the names of scripts for which no face has all sample characters.

        "Wingdings" is in the list if no face can substitute for it.
        """
        missing = [
            script.name
            for script in SCRIPTS
            if not any(
                face.characters.count_supported(map(ord, script.sample))
                == len(script.sample)
                for face in self.faces
            )
        ]
        if self.find_for_wingdings() is None:
            missing.append("Wingdings")
        return missing

    def preload(self) -> None:
        """Map one font per script into memory, before the right to open files is lost.

        Other fonts are no longer available afterwards. Fonts are left out if they are
        unreadable, or if the files would exceed `MAX_PRELOADED_BYTES` in total.
        """
        chosen = [
            self.find_for_characters(map(ord, script.sample)) for script in SCRIPTS
        ]
        preloaded: list[FontFace] = []
        num_bytes = 0
        for face in [*chosen, self.find_for_wingdings()]:
            if face is None or face in preloaded:
                continue
            try:
                if face.path not in self._data:
                    num_bytes += face.path.stat().st_size
                    if num_bytes > MAX_PRELOADED_BYTES:
                        break
                    with face.path.open("rb") as file:
                        self._data[face.path] = mmap.mmap(
                            file.fileno(), 0, access=mmap.ACCESS_READ
                        )
            except OSError:
                continue
            # Fill the caches of the face while its file can still be read.
            face.characters.find_glyph(0)
            face.is_collection  # noqa: B018
            preloaded.append(face)
        self._faces = sorted(preloaded, key=_preference)

    def read(self, face: FontFace) -> bytes | mmap.mmap:
        """Return the content of the face's file. Raises OSError if it is unreadable."""
        return self._data.get(face.path) or face.read_file()


def _preference(face: FontFace) -> tuple[int, int, str]:
    """Return a sort key: the lower it is, the more suitable the face."""
    place = (
        _PREFERRED.index(face.family) if face.family in _PREFERRED else len(_PREFERRED)
    )
    return place, face.is_bold + face.is_italic, face.family
