"""Writers of random text for rendered pages.

`AsciiWriter` writes the text of the evaluated domain: English prose, English words and
words of random letters, in ASCII. `LatinWriter` writes the text of training pages: it
adds the frequent words of ten European languages, typographic punctuation, and numbers,
dates and amounts in many formats.
"""

from __future__ import annotations

import functools
import math
import random
import string
from collections.abc import Callable
from typing import Protocol

from mini import words
from mini.words import ACCENTED_LETTERS, LATIN_CHARACTERS, read_prose

__all__ = ["AsciiWriter", "LatinWriter", "Writer"]

_LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "cs")
_LANGUAGE_WEIGHTS = (60, 8, 8, 6, 4, 4, 3, 3, 2, 2)
_NUM_WORDS = 20_000
_CONFUSABLE = ("Il1|!", "O0QoCDG", "S5s8B", "Z2z7", ".,:;'", "-–—_~", "rnmhu", "cloedb")
_CONFUSABLE_SETS = (*_CONFUSABLE, "vwyuVWYU", "ftlijJ", "gqpay9", "6bGh", "3B8E")
_UNITS = (
    "%",
    "kg",
    "mm",
    "km",
    "m²",
    "°C",
    "€",
    "$",
    "£",
    "GB",
    "EUR",
    "h",
    "kWh",
    "‰",
)
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)


class Writer(Protocol):
    """Source of random text."""

    def write_sentence(self, rng: random.Random, num_words: int) -> str: ...

    def write_words(self, rng: random.Random, num_words: int) -> list[str]: ...

    def write_number(self, rng: random.Random) -> str: ...


class AsciiWriter:
    """Writer of the domain that is evaluated."""

    def write_sentence(self, rng: random.Random, num_words: int) -> str:
        return words.random_sentence(rng, num_words)

    def write_words(self, rng: random.Random, num_words: int) -> list[str]:
        return words.random_words(rng, num_words)

    def write_number(self, rng: random.Random) -> str:
        return words.random_number(rng)


class LatinWriter:
    """Writer of training pages, which uses only the characters of one typeface."""

    def __init__(self, supported: frozenset[str]) -> None:
        self._supported = supported & set(LATIN_CHARACTERS) | {" "}
        self._letters = [c for c in ACCENTED_LETTERS if c in self._supported]
        self._symbols = [
            c for c in LATIN_CHARACTERS if c in self._supported and not c.isalnum()
        ]
        self._all = sorted(self._supported - {" "})

    def write_sentence(self, rng: random.Random, num_words: int) -> str:
        """Return `num_words` words of prose or of random words with punctuation."""
        kind = rng.random()
        if kind < 0.12:
            text: list[str] = []
            while len(text) < num_words:
                text += rng.choice(read_prose()).split()
            start = rng.randint(0, len(text) - num_words)
            return " ".join(text[start : start + num_words])
        if kind < 0.62:
            return " ".join(self._write_clauses(rng, num_words))
        return " ".join(self.write_words(rng, num_words))

    def write_words(self, rng: random.Random, num_words: int) -> list[str]:
        """Return words, numbers and words of random letters, with punctuation."""
        return [
            self._punctuate(rng, self._write_word(rng, random_share=0.4))
            for _ in range(num_words)
        ]

    def write_number(self, rng: random.Random) -> str:
        """Return a number, an amount, a date or a code."""
        while True:
            text = rng.choice(_NUMBER_FORMATS)(rng)
            if self._supported.issuperset(text):
                return text

    def _write_clauses(self, rng: random.Random, num_words: int) -> list[str]:
        """Return words of one language with the punctuation of sentences."""
        language = rng.choices(_LANGUAGES, _LANGUAGE_WEIGHTS)[0]
        out: list[str] = []
        starts = True
        for index in range(num_words):
            if rng.random() < 0.06:
                word = self.write_number(rng)
            else:
                word = self._choose_word(rng, language)
            if starts or rng.random() < (0.2 if language == "de" else 0.04):
                word = word[:1].upper() + word[1:]
            starts = False
            kind = rng.random()
            if index == num_words - 1 or kind < 0.08:
                word += rng.choice("......?!")
                starts = True
            elif kind < 0.15:
                word += ","
            elif kind < 0.17:
                word += rng.choice(":;")
            elif kind < 0.2:
                word = self._quote(rng, word)
            elif kind < 0.215 and "–" in self._supported:
                word += rng.choice((" –", " —", " -"))
            out.append(word if self._supported.issuperset(word) else "and")
        return out

    def _choose_word(self, rng: random.Random, language: str) -> str:
        frequent = _read_frequent_words(language)
        # Uniform in the logarithm of the rank, so that rare words occur often.
        rank = int(math.exp(rng.random() * math.log(len(frequent)))) - 1
        if rng.random() < 0.4:
            rank = rng.randrange(len(frequent))
        return frequent[rank]

    def _write_word(self, rng: random.Random, random_share: float) -> str:
        kind = rng.random()
        if kind > random_share:
            language = rng.choices(_LANGUAGES, _LANGUAGE_WEIGHTS)[0]
            word = self._choose_word(rng, language)
            if not self._supported.issuperset(word):
                word = "the"
        elif kind < 0.12 * random_share:
            return "".join(rng.choice(string.digits) for _ in range(rng.randint(1, 7)))
        elif kind < 0.24 * random_share:
            return self.write_number(rng)
        elif kind < 0.34 * random_share:
            return "".join(rng.choice(self._all) for _ in range(rng.randint(1, 6)))
        elif kind < 0.5 * random_share:
            letters = rng.choice(_CONFUSABLE_SETS)
            letters = "".join(c for c in letters if c in self._supported)
            return "".join(rng.choice(letters) for _ in range(rng.randint(1, 6)))
        elif kind < 0.62 * random_share and self._letters:
            letters = string.ascii_lowercase + "".join(self._letters) * 2
            word = "".join(rng.choice(letters) for _ in range(rng.randint(1, 8)))
        elif kind < 0.7 * random_share:
            return "".join(
                rng.choice(string.ascii_letters + string.digits)
                for _ in range(rng.randint(1, 9))
            )
        else:
            word = "".join(
                rng.choice(string.ascii_lowercase) for _ in range(rng.randint(1, 10))
            )
        case = rng.random()
        if case < 0.2:
            return word[:1].upper() + word[1:]
        upper = word.upper()
        if case < 0.32 and self._supported.issuperset(upper):
            return upper
        return word

    def _punctuate(self, rng: random.Random, word: str) -> str:
        kind = rng.random()
        if kind < 0.14:
            return word + rng.choice(".,.,;:!?…" if "…" in self._supported else ".,;:")
        if kind < 0.2:
            return self._quote(rng, word)
        if kind < 0.23:
            other = self._write_word(rng, random_share=0.3)
            return f"{word}{rng.choice('--/–&')}{other}"
        if kind < 0.24:
            return rng.choice(self._symbols) + word
        if kind < 0.25:
            return word + rng.choice(self._symbols)
        return word

    def _quote(self, rng: random.Random, word: str) -> str:
        opening, closing = rng.choice(_QUOTES)
        quoted = opening + word + closing
        return quoted if self._supported.issuperset(quoted) else f'"{word}"'


_QUOTES = (
    *(("(", ")"), ("(", ")"), ('"', '"'), ("“", "”"), ("‘", "’"), ("„", "“")),
    *(("«", "»"), ("[", "]"), ("'", "'"), ("{", "}"), ("<", ">"), ("(", "),")),
)


def _digits(rng: random.Random, most: int) -> str:
    return str(rng.randrange(10 ** rng.randint(1, most)))


def _amount(rng: random.Random) -> str:
    thousands, point = rng.choice(((",", "."), (".", ","), (" ", ","), ("'", ".")))
    text = f"{rng.randrange(10 ** rng.randint(1, 7)):,}".replace(",", thousands)
    text += f"{point}{rng.randrange(100):02}"
    sign = rng.choice(("€", "$", "£", "EUR", "USD", "¥", ""))
    return rng.choice((f"{text} {sign}", f"{sign}{text}", f"{sign} {text}")).strip()


def _date(rng: random.Random) -> str:
    day, month = rng.randint(1, 28), rng.randint(1, 12)
    year = rng.randint(1900, 2099)
    name = _MONTHS[month - 1]
    return rng.choice(
        (
            f"{day:02}.{month:02}.{year}",
            f"{year}-{month:02}-{day:02}",
            f"{day}/{month}/{year}",
            f"{day} {name} {year}",
            f"{name} {day}, {year}",
            f"{name[:3]} {year}",
            f"{name} {year}",
        )
    )


def _code(rng: random.Random) -> str:
    letters = "".join(
        rng.choice(string.ascii_uppercase) for _ in range(rng.randint(1, 4))
    )
    return letters + rng.choice(("", "-", "/", " ", ".")) + _digits(rng, 6)


_NUMBER_FORMATS: tuple[Callable[[random.Random], str], ...] = (
    lambda rng: _digits(rng, 6),
    lambda rng: _digits(rng, 6),
    lambda rng: f"{_digits(rng, 3)}.{rng.randrange(10)}",
    lambda rng: f"{_digits(rng, 3)}.{rng.randrange(10)}",
    lambda rng: f"{_digits(rng, 4)}.{rng.randrange(100):02}",
    lambda rng: f"{_digits(rng, 3)},{rng.randrange(1000)}",
    lambda rng: f"{rng.choice('-–+±')}{_digits(rng, 3)}.{rng.randrange(10)}",
    lambda rng: f"{_digits(rng, 3)} {rng.choice(_UNITS)}",
    lambda rng: f"{_digits(rng, 3)}.{rng.randrange(10)} {rng.choice(_UNITS)}",
    lambda rng: f"{_digits(rng, 2)}{rng.choice(_UNITS)}",
    lambda rng: f"{rng.randrange(24)}:{rng.randrange(60):02}",
    lambda rng: f"{rng.randint(1900, 2100)}{rng.choice('-–/')}{rng.randrange(100):02}",
    lambda rng: f"{rng.randint(1, 31)}{rng.choice(('th', 'st', 'nd', 'rd', '.', 'º'))}",
    lambda rng: f"{_digits(rng, 2)} {rng.choice('×x+=<>/')} {_digits(rng, 2)}",
    _amount,
    _amount,
    _date,
    _date,
    _code,
    _code,
)


@functools.cache
def _read_frequent_words(language: str) -> tuple[str, ...]:
    # Needed only for training.
    import wordfreq

    kept = set(LATIN_CHARACTERS)
    return tuple(
        word
        for word in wordfreq.top_n_list(language, _NUM_WORDS)
        if kept.issuperset(word)
    )
