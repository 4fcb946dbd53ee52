"""The scripts that a machine's fonts should draw, and the fonts to install for them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BUILT_IN", "INSTALL_ADVICE", "SCRIPTS", "Script"]


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the characters by which a font is judged to draw it."""

    name: str
    sample: str
    charset: int | None = None
    """pdfium's number (`FXFONT_..._CHARSET`) for it, if there is one."""


SCRIPTS = (
    Script("Central European", "ŁąčęłńřśšťůźżŐőŰű", 238),
    Script("Greek", "ΑΒΓΔΩαβγδωάέ", 161),
    Script("Cyrillic", "АБВГЯабвгяіїё", 204),
    Script("Hebrew", "אבגדהםןףץת", 177),
    Script("Arabic", "ابتثجحهوي", 178),
    Script("Thai", "กขคงจฉะาิเ", 222),
    Script("Devanagari", "अआकखगहािी्"),
    Script("Japanese", "あいうアイウ日本語録広", 128),
    Script("Korean", "가나다한국어기록", 129),
    Script("Simplified Chinese", "汉语记录书", 134),
    Script("Traditional Chinese", "漢語記錄書", 136),
)

INSTALL_ADVICE = (
    "install fonts that have them, on Debian and Ubuntu for example: "
    "apt-get install fonts-freefont-ttf fonts-wqy-microhei"
)

BUILT_IN = frozenset(
    map(
        ord,
        "".join(map(chr, (*range(0x20, 0x7F), *range(0xA0, 0x100))))
        + "ŁłıŒœŠšŸŽžƒˆˇ˘˙˚˛˜˝–—‘’‚“”„†‡•…‰‹›⁄€™−ﬁﬂ",
    )
)
"""Characters of the Latin fonts that are part of pdfium."""
