"""Typefaces of rendered pages.

The four typefaces of `FAMILIES` come with Python packages: DejaVu (Bitstream Vera
licence) with matplotlib, and Aileron (CC0) with Pillow. Training uses many more, which
Debian packages install; fontconfig finds their files. `UNSEEN_FAMILIES` are never used
for training, so that they measure how well the model reads a new typeface.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from fontTools.ttLib import TTFont
from PIL import ImageFont

__all__ = [
    "FAMILIES",
    "TRAINING_PACKAGES",
    "Family",
    "MissingFontsError",
    "advance_width",
    "find_training_families",
    "find_unseen_families",
    "load_font",
    "supported_characters",
]

_FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


class MissingFontsError(RuntimeError):
    """A typeface for training or evaluation is not installed."""


@dataclass(frozen=True, slots=True)
class Family:
    """Typeface with the files of its faces; None stands for Pillow's own font.

    Names without a folder are relative to matplotlib's fonts.
    """

    name: str
    regular: str | None
    bold: str | None
    italic: str | None = None
    bold_italic: str | None = None
    has_raqm_layout: bool = False
    """Whether kerning and ligatures are applied, as browsers do."""


FAMILIES = (
    Family("DejaVu Sans", "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    Family("DejaVu Serif", "DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
    Family("DejaVu Sans Mono", "DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"),
    Family("Aileron", None, None),
)

TRAINING_PACKAGES = (
    *("adf-gillius", "adf-libris", "b612", "cantarell", "cmu", "crosextra-caladea"),
    *("crosextra-carlito", "dejavu", "ebgaramond", "fanwood", "freefont-ttf", "go"),
    *("goudybookletter", "hack-ttf", "inconsolata", "inter", "junicode", "lato"),
    *("liberation", "linuxlibertine", "lmodern", "manrope", "mplus", "noto-core"),
    *("oldstandard", "open-sans", "play", "quattrocento", "roboto-slab"),
    *("roboto-unhinted", "sil-andika", "stix", "tuffy", "urw-base35", "vollkorn"),
    *("yrsa-rasa",),
)
"""Debian packages of the training typefaces, without the prefix `fonts-`."""

_UNSEEN_PACKAGES = (
    *("cabin", "clear-sans", "oxygen", "paratype", "sil-charis", "sil-gentiumplus"),
)

_TRAINING_NAMES = (
    *("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono"),
    *("Liberation Sans", "Liberation Serif", "Liberation Mono", "Noto Sans"),
    *("Noto Serif", "Open Sans", "Lato", "Roboto", "Roboto Slab", "Nimbus Sans"),
    *("Nimbus Roman", "Nimbus Mono PS", "C059", "P052", "URW Bookman", "URW Gothic"),
    *("Carlito", "Caladea", "FreeSans", "FreeSerif", "FreeMono", "Cantarell"),
    *("Inter", "EB Garamond", "Linux Libertine O", "Latin Modern Roman"),
    *("Latin Modern Sans", "CMU Serif", "CMU Bright", "B612", "Quattrocento"),
    *("Vollkorn", "Go", "Hack", "Inconsolata", "Junicode Two Beta"),
    *("Old Standard TT", "STIXGeneral", "Gillius ADF"),
    *("Libris ADF Std", "M PLUS 1", "Manrope", "Play", "Rasa"),
    *("Yrsa", "Tuffy", "Fanwood", "Goudy Bookletter 1911", "Andika"),
    *("Liberation Sans Narrow", "Linux Biolinum O"),
)
_UNSEEN_NAMES = (
    *("Cabin", "Charis SIL", "Clear Sans", "Gentium Plus", "Oxygen-Sans", "PT Serif"),
)

_STYLES = {
    "regular": (
        "Regular",
        "Book",
        "Roman",
        "Normal",
        "Medium",
        "10 Regular",
        "12 Regular",
        "Light",
        "Sans-Book",
    ),
    "bold": ("Bold", "10 Bold", "12 Bold", "Demi", "Sans-Bold"),
    "italic": ("Italic", "Oblique", "10 Italic", "12 Italic", "Light Italic"),
    "bold_italic": ("Bold Italic", "Bold Oblique", "Demi Italic", "10 Bold Italic"),
}


def find_training_families() -> tuple[Family, ...]:
    """Return all typefaces of the training.

    Raise MissingFontsError if one is not installed.
    """
    return (*FAMILIES, *_find_families(_TRAINING_NAMES, TRAINING_PACKAGES))


def find_unseen_families() -> tuple[Family, ...]:
    """Return the typefaces that the training never uses.

    Raise MissingFontsError if one is not installed.
    """
    return _find_families(_UNSEEN_NAMES, _UNSEEN_PACKAGES)


@functools.cache
def _find_families(
    names: tuple[str, ...], packages: Iterable[str]
) -> tuple[Family, ...]:
    families = []
    for name in names:
        files = {
            style: path
            for style, styles in _STYLES.items()
            if (path := _find_file(name, styles))
        }
        if "regular" not in files:
            command = "apt-get install " + " ".join(f"fonts-{p}" for p in packages)
            raise MissingFontsError(f"the typeface {name} is not installed: {command}")
        families.append(
            Family(
                name,
                files["regular"],
                files.get("bold"),
                files.get("italic"),
                files.get("bold_italic"),
                has_raqm_layout=True,
            )
        )
    return tuple(families)


def _find_file(name: str, styles: Iterable[str]) -> str | None:
    faces = _list_faces()
    for style in styles:
        if path := faces.get((name, style)):
            return path
    return None


@functools.cache
def _list_faces() -> dict[tuple[str, str], str]:
    """Return the files of all installed faces, by family and style."""
    result = subprocess.run(
        ["fc-list", "--format", r"%{family[0]}|%{style[0]}|%{file}|%{variable}\n"],
        check=True,
        capture_output=True,
        text=True,
    )
    faces = {}
    for line in sorted(result.stdout.splitlines(), reverse=True):
        family, style, file, variable = line.split("|")
        if variable != "True" and file.endswith((".ttf", ".otf", ".t1")):
            faces[family, style] = file
    return faces


@functools.lru_cache(maxsize=4096)
def load_font(
    family: Family, size: int, *, bold: bool = False, italic: bool = False
) -> ImageFont.FreeTypeFont:
    """Return the font with `size` pixels per em.

    A typeface without the requested face gives its nearest one: Aileron, for example,
    has only one face.
    """
    name = (family.bold if bold else None) or family.regular
    if italic:
        name = (family.bold_italic if bold else family.italic) or name
    if name is None:
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font
    # Basic layout by default, because not every Pillow has Raqm, whose kerning differs.
    layout = ImageFont.Layout.RAQM if family.has_raqm_layout else ImageFont.Layout.BASIC
    return ImageFont.truetype(_FOLDER / name, size, layout_engine=layout)


@functools.lru_cache(maxsize=400_000)
def advance_width(font: ImageFont.FreeTypeFont, character: str) -> float:
    """Return the advance width of a character in pixels."""
    if font.layout_engine is ImageFont.Layout.RAQM:
        # Measured once for all sizes, because these fonts are many.
        return _measure_em_share(str(font.path), character) * font.size
    return font.getlength(character)


@functools.lru_cache(maxsize=100_000)
def _measure_em_share(path: str, character: str) -> float:
    size = 64
    return _load_file(path, size).getlength(character) / size


@functools.lru_cache(maxsize=512)
def _load_file(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@functools.cache
def supported_characters(family: Family) -> frozenset[str]:
    """Return all characters for which every face of the typeface has a glyph."""
    faces = [family.regular, family.bold, family.italic, family.bold_italic]
    sets = [_read_character_map(_FOLDER / face) for face in faces if face]
    if not sets:
        # Aileron in Pillow has glyphs for ASCII and a part of Latin-1.
        font = ImageFont.load_default(20)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return _read_character_map(font.path)
    return frozenset.intersection(*sets)


def _read_character_map(file: object) -> frozenset[str]:
    with TTFont(file, fontNumber=0, lazy=True) as font:
        return frozenset(map(chr, font.getBestCmap()))
