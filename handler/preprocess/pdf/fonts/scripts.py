"""Scripts that installed fonts should support, and advice on fonts to install."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BUILT_IN", "INSTALL_ADVICE", "SCRIPTS", "Script"]


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and sample characters that a font for it must have."""

    name: str
    sample: str
    charset: int | None = None
    """pdfium's constant (`FXFONT_..._CHARSET`) for the script; None if it has none."""


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
    "install fonts with these scripts, for example on Debian and Ubuntu: "
    "apt-get install fonts-freefont-ttf fonts-wqy-microhei"
)

_WINDOWS_LATIN = bytes(range(0x20, 0x100)).decode("cp1252", "ignore")
_FURTHER_STANDARD = (
    "\u0131\u0141\u0142\u02c7\u02d8\u02d9\u02da\u02db\u02dd\u2044\u2212\ufb01\ufb02"
)
BUILT_IN = frozenset(map(ord, _WINDOWS_LATIN + _FURTHER_STANDARD)) - {0x7F}
"""Code points of the Latin fonts that are built into pdfium."""
