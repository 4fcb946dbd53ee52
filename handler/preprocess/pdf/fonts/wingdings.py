"""Substitute font for Wingdings, built from an installed font.

PDFs that use Wingdings without embedding it contain its character codes, which no free
font has. Unicode 7.0 added equivalents for them. Most fonts lack some of these, so the
table lists similar characters of older Unicode versions after them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from handler.preprocess.pdf.fonts.files import FontFace

__all__ = ["FAMILY", "SAMPLE", "build_wingdings_font", "count_drawable_codes"]

FAMILY = "wingdings"
"""The family's name as `normalize_family` returns it."""

SAMPLE = "✓✗☑☒●■□▪❑❖➢✔☎✉☺"
"""Check marks, ballot boxes, bullets and symbols that are common in documents."""

_ROWS = {
    0x21: "🖉✏ ✂ ✁ 👓 🕭 🕮 🕯 🖿☎ ✆ 🖂✉ 🖃✉ 📪 📫 📬 📭",
    0x30: "📁 📂 📄 🗏 🗐 🗄 ⌛ 🖮⌨ 🖰 🖲 🖳 🖴 🖫 🖬 ✇ ✍",
    0x40: "🖎✍ ✌ 👌 👍 👎 ☜ ☞ ☝ ☟ 🖐 ☺ 😐 ☹ 💣 ☠ 🏳⚐",
    0x50: "🏱⚑ ✈ ☼ 💧 ❄ 🕆✝ ✞ 🕈✠ ✠ ✡ ☪ ☯ ॐ ☸ ♈ ♉",
    0x60: "♊ ♋ ♌ ♍ ♎ ♏ ♐ ♑ ♒ ♓ 🙰& 🙵& ● 🔾❍ ■ □",
    0x70: "🞐❐ ❑ ❒ ⬧♦ ⧫◊ ◆ ❖ ⬥◆ ⌧☒ ⮹⍓ ⌘ 🏵❀ 🏶✿ 🙶❝ 🙷❞",
    0x80: "⓪ ① ② ③ ④ ⑤ ⑥ ⑦ ⑧ ⑨ ⑩ ⓿ ❶ ❷ ❸ ❹",
    0x90: "❺ ❻ ❼ ❽ ❾ ❿ 🙢 🙠 🙡 🙣 🙞 🙜 🙝 🙟 · •",
    0xA0: "⬝▪ ⭘○ 🞆○ 🞈◉ 🞊◎ 🞋◎ 🔿❍ ▪ 🞎◻□ 🟂▲ ✦ ★ ✶ ✴ ✹ ✵",
    0xB0: "⯐⌖ ⌖ ⟡ ⌑ ⯑⍰ ✪ ✰ 🕐 🕑 🕒 🕓 🕔 🕕 🕖 🕗 🕘",
    0xC0: "🕙 🕚 🕛 ⮰↲ ⮱↳ ⮲↰ ⮳↱ ⮴ ⮵ ⮶ ⮷ 🙪❧ 🙫☙ 🙕 🙔 🙗",
    0xD0: "🙖 🙐 🙑 🙒 🙓 ⌫ ⌦ ⮘◀ ⮚➢ ⮙▲ ⮛▼ ⮈ ⮊➲ ⮉ ⮋ 🡨←",
    0xE0: "🡪→ 🡩↑ 🡫↓ 🡬↖ 🡭↗ 🡯↙ 🡮↘ 🡸← 🡺➔→ 🡹↑ 🡻↓ 🡼↖ 🡽↗ 🡿↙ 🡾↘ ⇦",
    0xF0: "⇨ ⇧ ⇩ ⬄⇔ ⇳⇕ ⬁⇖ ⬀⇗ ⬃⇙ ⬂⇘ 🢬▭ 🢭▫ 🗶✗ ✓✔ 🗷☒ 🗹☑",
}
_CHARACTERS = {
    first + index: characters
    for first, row in _ROWS.items()
    for index, characters in enumerate(row.split())
}
_PRIVATE_USE = 0xF000
"""Offset of the codes of symbol fonts in Unicode's private use area."""


def count_drawable_codes(face: FontFace) -> int:
    """Return the number of Wingdings' codes for which `face` has a character."""
    return len(_map_codes(face))


def build_wingdings_font(
    face: FontFace, data: bytes, others: Iterable[int] = ()
) -> bytes:
    """Return the file of `face` with a character map for the codes of Wingdings.

    The map also has the code points `others`, except those that coincide with such
    codes or exceed 16 bits. `data` is the content of the file, which must not be a
    collection.
    """
    glyphs = _map_codes(face)
    pairs = [
        (start + code, glyph)
        for start in (0, _PRIVATE_USE)
        for code, glyph in sorted(glyphs.items())
    ]
    pairs += [
        (other, face.characters.find_glyph(other))
        for other in set(others)
        if 0xFF < other < 0xFFFF and other >> 8 != _PRIVATE_USE >> 8
    ]
    pairs.sort()
    table = _build_cmap(pairs)
    padding = b"\0" * (-len(data) % 4)
    tables = face.tables | {b"cmap": (len(data) + len(padding), len(table))}
    # The directory keeps its number of entries, so the offsets of other tables are
    # still valid.
    directory = b"".join(
        struct.pack(">4sLLL", tag, 0, start, length)
        for tag, (start, length) in sorted(tables.items())
    )
    return data[:12] + directory + data[12 + len(directory) :] + padding + table


def _map_codes(face: FontFace) -> dict[int, int]:
    """Return the glyph indices in `face` by the codes of Wingdings that it supports."""
    glyphs = {}
    for code, characters in _CHARACTERS.items():
        candidates = (face.characters.find_glyph(ord(each)) for each in characters)
        if glyph := next(filter(None, candidates), 0):
            glyphs[code] = glyph
    return glyphs


def _build_cmap(pairs: list[tuple[int, int]]) -> bytes:
    """Return a `cmap` table with one map, registered as symbol and as Unicode map.

    `pairs` are code points and glyph indices, sorted by code point.
    """
    # Format 4 has a segment for each code, and requires a final segment for 0xFFFF.
    segments = [*pairs, (0xFFFF, 0)]
    num = len(segments)
    power = 1 << (num.bit_length() - 1)
    codes = struct.pack(f">{num}H", *(code for code, _ in segments))
    deltas = struct.pack(
        f">{num}H", *((glyph - code) & 0xFFFF for code, glyph in pairs), 1
    )
    body = codes + b"\0\0" + codes + deltas + b"\0" * (2 * num)
    head = struct.pack(
        ">7H",
        4,
        14 + len(body),
        0,
        2 * num,
        2 * power,
        power.bit_length() - 1,
        2 * (num - power),
    )
    # pdfium looks for platform and encoding (3, 0) in simple fonts and for any Unicode
    # map in composite fonts, which is (0, 3) here.
    start = 4 + 2 * 8
    index = struct.pack(">HH", 0, 2) + struct.pack(">HHLHHL", 0, 3, start, 3, 0, start)
    return index + head + body
