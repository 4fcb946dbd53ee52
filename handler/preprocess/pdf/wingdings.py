"""The characters of Wingdings, and a font that draws them under Wingdings' codes.

PDFs that use Wingdings without embedding it mean its codes, and no free font has them.
The Unicode equivalents are those that Unicode 7.0 was given for the purpose. Where
most fonts lack the exact character, a similar one of older versions follows it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from handler.preprocess.pdf.font_files import FontFace

__all__ = ["FAMILY", "SAMPLE", "draws", "with_wingdings_codes"]

FAMILY = "wingdings"
"""The family's name as `normalize_family` returns it."""

SAMPLE = "✓✗☑☒●■□▪❑❖➢✔☎✉☺"
"""Check marks, ballot boxes, bullets and signs that documents really use."""

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
"""Where symbol fonts have their codes in Unicode."""


def draws(face: FontFace) -> int:
    """Return how many of the codes of Wingdings `face` has a character for."""
    return len(_glyphs(face))


def with_wingdings_codes(
    face: FontFace, data: bytes, others: Iterable[int] = ()
) -> bytes:
    """Return a font file with the codes of Wingdings in place of Unicode.

    It keeps the characters `others` of Unicode that are no such codes. `data` are the
    bytes of the file of `face`, which must not be in a collection.
    """
    glyphs = _glyphs(face)
    pairs = [
        (start + code, glyph)
        for start in (0, _PRIVATE_USE)
        for code, glyph in sorted(glyphs.items())
    ]
    pairs += [
        (other, face.characters.glyph(other))
        for other in set(others)
        if 0xFF < other < 0xFFFF and other >> 8 != _PRIVATE_USE >> 8
    ]
    pairs.sort()
    table = _cmap(pairs)
    kept = {tag: place for tag, place in face.tables.items() if tag != b"cmap"}
    padding = b"\0" * (-len(data) % 4)
    tables = kept | {b"cmap": (len(data) + len(padding), len(table))}
    # The directory has as many entries as before, so nothing else moves.
    directory = b"".join(
        struct.pack(">4sLLL", tag, 0, start, length)
        for tag, (start, length) in sorted(tables.items())
    )
    return data[:12] + directory + data[12 + len(directory) :] + padding + table


def _glyphs(face: FontFace) -> dict[int, int]:
    """Return the glyph in `face` for each code of Wingdings that it can draw."""
    glyphs = {}
    for code, characters in _CHARACTERS.items():
        found = (face.characters.glyph(ord(character)) for character in characters)
        if glyph := next((glyph for glyph in found if glyph), 0):
            glyphs[code] = glyph
    return glyphs


def _cmap(pairs: list[tuple[int, int]]) -> bytes:
    """Return a `cmap` table with one map, as symbol font and as Unicode."""
    # Format 4 with a segment for each code, and the last one that must be there.
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
    # Simple fonts look for (3, 0); composite ones for any Unicode map, here (0, 3).
    start = 4 + 2 * 8
    index = struct.pack(">HH", 0, 2) + struct.pack(">HHLHHL", 0, 3, start, 3, 0, start)
    return index + head + body
