"""Scripts with their letters and fonts."""

from __future__ import annotations

import functools
import random
import string
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from PIL import ImageFont

from mini.words import random_sentence

__all__ = ["SCRIPTS", "find_fonts", "load_font", "random_line"]

_BUNDLED = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
_ALPHABETS = {
    "cyrillic": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэф",
    "greek": "αοιετσνηυρπκμλςθδγχβφξζψωάέήίόύώ",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "hebrew": "אבגדהוזחטיכלמםנןסעפףצץקרשת",
    "armenian": "աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ",
    "georgian": "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ",
    "thai": "กขคงจฉชซญดตถทธนบปผฝพฟภมยรลวศสหอฮะาเแโไใ",
    "devanagari": "अआइउएकखगघचछजझटठडढणतथदधनपफबभमयरलवशसहािीुूेैोौ",
}
_KANA = "".join(map(chr, [*range(0x3041, 0x3094), *range(0x30A1, 0x30F5)]))
_HANGUL = "".join(map(chr, range(0xAC00, 0xD7A4, 7)))
# These are not the most frequent characters, but they contain all radicals.
_HAN = "".join(map(chr, range(0x4E00, 0x9FA6, 5)))
SCRIPTS = ("latin", "digits", "capitals", *_ALPHABETS, "chinese", "japanese", "korean")
# A font supports a script if it has this character.
_PROBES = {
    "latin": "g",
    "digits": "7",
    "capitals": "G",
    "chinese": "一堔鸞觱",
    "japanese": "あア堔鸞觱",
    "korean": "가한",
} | {name: letters[:8] for name, letters in _ALPHABETS.items()}


def random_line(rng: random.Random, script: str, num_characters: int) -> str:
    """Return about `num_characters` of a script, with its spaces and punctuation."""
    if script in ("chinese", "japanese"):
        letters = _HAN if script == "chinese" else _KANA
        text = ""
        while len(text) < num_characters:
            use_han = script == "chinese" or rng.random() < 0.35
            text += rng.choice(_HAN if use_han else letters)
            if rng.random() < 0.06:
                text += rng.choice("、。")
        return text[:num_characters]
    if script == "digits":
        words = [_number(rng) for _ in range(num_characters // 5 + 1)]
    elif script in ("latin", "capitals"):
        words = random_sentence(rng, num_characters // 6 + 1).split()
    else:
        letters = _HANGUL if script == "korean" else _ALPHABETS[script]
        words = []
        for _ in range(num_characters // 6 + 1):
            # The letters are sorted by frequency.
            size = rng.randint(1, 4) if script == "korean" else rng.randint(2, 9)
            n = len(letters)
            spread = 1 if script in ("korean", "thai", "devanagari") else 1.6
            word = "".join(
                letters[int(n * rng.random() ** spread)] for _ in range(size)
            )
            if script in ("cyrillic", "greek", "armenian") and rng.random() < 0.15:
                word = word.capitalize()
            words.append(word + (rng.choice(",.;:") if rng.random() < 0.12 else ""))
    text = " ".join(words)[: max(1, num_characters)]
    return text.upper() if script == "capitals" else text


def _number(rng: random.Random) -> str:
    digits = "".join(rng.choice(string.digits) for _ in range(rng.randint(1, 5)))
    return digits + rng.choice(["", "", ".50", "%", f",{rng.randint(100, 999)}", "-"])


def find_fonts(script: str, folders: Sequence[Path]) -> tuple[Path, ...]:
    """Return the fonts with a script, from `folders` and matplotlib's DejaVu."""
    return _find_fonts_by_script(tuple(folders))[script]


@functools.lru_cache(maxsize=4)
def _find_fonts_by_script(folders: tuple[Path, ...]) -> dict[str, tuple[Path, ...]]:
    paths = sorted(_BUNDLED.glob("DejaVu*.ttf"))
    paths = [path for path in paths if "Display" not in path.name]
    for folder in folders:
        for suffix in ("ttf", "otf", "ttc"):
            paths += sorted(folder.rglob(f"*.{suffix}"))
    fonts: dict[str, list[Path]] = {script: [] for script in SCRIPTS}
    for path in paths:
        try:
            font = ImageFont.truetype(path, 20)
        except OSError:
            continue
        missing = {_render_letter(font, chr(code)) for code in (0xFFFF, 0x10FFFD)}
        for script in SCRIPTS:
            drawn = [_render_letter(font, letter) for letter in _PROBES[script]]
            if len(set(drawn)) == len(drawn) and not missing & {*drawn, b""}:
                fonts[script].append(path)
    return {script: tuple(paths) for script, paths in fonts.items()}


def _render_letter(font: ImageFont.FreeTypeFont, letter: str) -> bytes:
    return bytes(font.getmask(letter, "L"))


@functools.lru_cache(maxsize=256)
def load_font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """Return the font with `size` pixels per em."""
    return ImageFont.truetype(path, size)
