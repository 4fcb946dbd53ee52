"""Text of rendered pages: English prose and random words."""

from __future__ import annotations

import functools
import random
import re
import string
from pathlib import Path

__all__ = ["CHARACTERS", "random_number", "random_sentence", "random_words"]

CHARACTERS = string.ascii_letters + string.digits + ".,:;!?-'\"()[]/%&+=<>#*@$_"
"""All characters of pages except the space."""

_LETTERS = string.ascii_lowercase
_UNITS = ("%", "kg", "mm", "km", "GB", "EUR", "$")


@functools.cache
def _read_prose() -> tuple[str, ...]:
    path = Path(__file__).with_name("prose.txt")
    kept = set(CHARACTERS + " ")
    return tuple(
        line for line in path.read_text("utf-8").splitlines() if kept.issuperset(line)
    )


@functools.cache
def _read_vocabulary() -> tuple[str, ...]:
    vocabulary = {w for line in _read_prose() for w in re.findall(r"[A-Za-z]+", line)}
    return tuple(sorted(vocabulary))


def random_sentence(rng: random.Random, num_words: int) -> str:
    """Return `num_words` words of English prose, random English or random letters."""
    kind = rng.random()
    if kind < 0.25:
        text: list[str] = []
        while len(text) < num_words:
            text += rng.choice(_read_prose()).split()
        start = rng.randint(0, len(text) - num_words)
        return " ".join(text[start : start + num_words])
    english = 0.8 if kind < 0.5 else 0.15
    return " ".join(random_words(rng, num_words, english=english))


def random_words(
    rng: random.Random, num_words: int, *, english: float = 0.4
) -> list[str]:
    """Return `num_words` words, of which a share of `english` are English."""
    return [_punctuate(rng, _random_word(rng, english)) for _ in range(num_words)]


def random_number(rng: random.Random) -> str:
    """Return a number in a format that is common in tables."""
    digits = str(rng.randint(0, 10 ** rng.randint(1, 5)))
    kind = rng.random()
    if kind < 0.4:
        return digits
    if kind < 0.7:
        return f"{digits}.{rng.randint(0, 99)}"
    if kind < 0.8:
        return f"-{digits}"
    return f"{digits} {rng.choice(_UNITS)}"


def _random_word(rng: random.Random, english: float) -> str:
    if rng.random() < english:
        word = rng.choice(_read_vocabulary())
    else:
        kind = rng.random()
        if kind < 0.15:
            return "".join(rng.choice(string.digits) for _ in range(rng.randint(1, 6)))
        if kind < 0.2:
            return "".join(rng.choice(CHARACTERS) for _ in range(rng.randint(1, 6)))
        word = "".join(rng.choice(_LETTERS) for _ in range(rng.randint(1, 9)))
    case = rng.random()
    if case < 0.15:
        return word.capitalize()
    return word.upper() if case < 0.25 else word


def _punctuate(rng: random.Random, word: str) -> str:
    kind = rng.random()
    if kind < 0.12:
        return word + rng.choice(".,.,;:!?")
    if kind < 0.14:
        return f"({word})"
    if kind < 0.16:
        return f'"{word}"'
    if kind < 0.18:
        return f"{word}-{rng.choice(_read_vocabulary())}"
    return word
