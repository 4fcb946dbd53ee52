"""What a request may ask for beside its document, held to the service's own rules.

`deploy` knows the service by its image and its answers only, so the rules stand here
once more; a test asks the handler about the same values.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from deploy.errors import ConfigError

__all__ = [
    "MAX_HEADER",
    "OPTIONS",
    "SECRET",
    "Option",
    "attributes_of",
    "canonical_options",
    "checked_options",
    "intervals",
    "last_named",
    "num_chosen",
]

Option = str | int | float | bool

EXAMPLE = "1-3,7,9- (counted from 1; 9- is page 9 to the last)"
OPTION_HINT = "options are those of handler/README.md, as in pages=1-3"
# Digits are bounded as the service bounds them.
RANGE = re.compile(r"\s*(\d{1,18})\s*(?:(-)\s*(\d{1,18})?\s*)?", re.ASCII)
PROMPT_TYPES = ("ocr_layout", "ocr")
TRUE = ("true", "1", "yes")
FALSE = ("false", "0", "no")
SECRET = ("password",)
"""Options of the service that are never written into a file; `invoke` alone sends
them."""
MAX_DEADLINE_SECONDS = 86_400
MAX_TEMPERATURE = 2
MAX_ATTEMPTS = 10
MAX_PROMPT_BYTES = 8192
SPECIAL_TOKEN = re.compile(r"<\|[^<>|\s]{1,40}\|>")
MAX_HEADER = 1024
"""Characters that SageMaker takes of an address, and of the options beside it."""


def checked_options(
    values: Mapping[str, Any], where: str | None = None
) -> dict[str, Option]:
    """Return options in one spelling each; values of None are left out.

    Raises ConfigError on what the service would refuse. `where` is the place where they
    were written: a line of a manifest, or flags if it is None.
    """
    options: dict[str, Option] = {}
    for name, value in values.items():
        if name in SECRET:
            raise ConfigError(
                f"{where or name}: a password would be kept in a manifest, a ledger or "
                "a queue, where others can read it",
                hint="qpdf --decrypt, or chandra-sagemaker invoke --password-env NAME",
            )
        if name not in OPTIONS:
            close = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = (
                f"did you mean {close[0]}?" if close else f"known: {', '.join(OPTIONS)}"
            )
            raise ConfigError(f"{where}: unknown option {name}", hint=hint)
        if value is None:
            continue
        if name == "pages" and isinstance(value, int) and not isinstance(value, bool):
            # One page as a bare number is what people write in JSON.
            value = str(value)
        if wrong := _what_is_wrong(name, value):
            raise ConfigError(_sentence(name, where, wrong), hint=_hint(name, where))
        options[name] = value
    return canonical_options(options)


def canonical_options(options: Mapping[str, Option]) -> dict[str, Option]:
    """Return options that `checked_options` let through, each in one spelling.

    The service reads "yes" and true alike, so they must make the same key of a
    document. Page ranges keep their order, which results are named after.
    """
    return {
        name: CANONICAL[name](value) if name in CANONICAL else value
        for name, value in options.items()
    }


def attributes_of(options: Mapping[str, Option]) -> str:
    """Return options as Custom-Attributes; a prompt is percent-coded there."""
    return ";".join(f"{name}={_word(name, value)}" for name, value in options.items())


def _word(name: str, value: Option) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if name != "prompt":
        return str(value)
    # HTTP and the service drop blanks around a value.
    coded = quote(str(value), safe=" ,.?!")
    return re.sub("^ +| +$", lambda blanks: "%20" * len(blanks[0]), coded)


def intervals(pages: str) -> list[tuple[int, int | None]]:
    """First and last of each range, as written; None for the document's last page.

    Raises ValueError with what is wrong.
    """
    found: list[tuple[int, int | None]] = []
    for part in pages.split(","):
        match = RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"look like {EXAMPLE}, not {pages[:60]!r}")
        first = int(match[1])
        last = int(match[3]) if match[3] else None if match[2] else first
        if first < 1:
            raise ValueError(f"count from 1, and {part.strip()!r} does not")
        if last is not None and first > last:
            raise ValueError(f"have {part.strip()!r}; write {last}-{first}")
        found.append((first, last))
    return found


def last_named(pages: str) -> int:
    """The highest number in ranges that `checked_options` let through."""
    return max(last or first for first, last in intervals(pages))


def num_chosen(pages: str | None, total: int | None) -> int | None:
    """How many pages ranges such as `1-3,7` choose; None where nobody can say."""
    if pages is None:
        return total
    num = above = 0
    for first, last in sorted(intervals(pages), key=lambda interval: interval[0]):
        if last is None and total is None:
            return None
        end = min(n for n in (last, total) if n is not None)
        num += max(0, end - max(first, above + 1) + 1)
        above = max(above, end)
    return num


def _what_is_wrong(name: str, value: Any) -> str | None:
    """What would be right, as the rest of a sentence."""
    if not isinstance(value, str | int | float):
        return "must be text or a number"
    text = str(value)
    if name == "prompt":
        return _prompt(value)
    if not (text.isascii() and text.isprintable()) or ";" in text:
        # They travel in a header, one after the other.
        return f"must be plain text, not {text[:60]!r}"
    return OPTIONS[name](value)


def _pages(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"look like {EXAMPLE}, not {value}"
    try:
        intervals(value)
    except ValueError as error:
        return str(error)
    return None


def _whole(value: Any) -> str | None:
    number = _number(value)
    if number is None or number != int(number) or number < 1:
        return f"must be a whole number above 0, not {value}"
    return None


def _seconds(value: Any) -> str | None:
    number = _number(value)
    if number is None or not 0 < number <= MAX_DEADLINE_SECONDS:
        return f"must be above 0 and at most {MAX_DEADLINE_SECONDS}, not {value}"
    return None


def _number(value: Any) -> float | None:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _prompt_type(value: Any) -> str | None:
    if value in PROMPT_TYPES:
        return None
    return f"must be {' or '.join(PROMPT_TYPES)}, not {value}"


def _prompt(value: Any) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return "must be text"
    try:
        if len(value.encode()) > MAX_PROMPT_BYTES:
            return f"has more than {MAX_PROMPT_BYTES:,} bytes"
    except UnicodeEncodeError:
        return "must be text that has a form in UTF-8"
    if token := SPECIAL_TOKEN.search(value):
        return f"must be without the model's special tokens such as {token[0]}"
    return None


def _temperature(value: Any) -> str | None:
    number = _number(value)
    if number is None or not 0 <= number <= MAX_TEMPERATURE:
        return f"must be from 0 to {MAX_TEMPERATURE}, not {value}"
    return None


def _attempts(value: Any) -> str | None:
    number = _number(value)
    if number is None or number != int(number) or not 1 <= number <= MAX_ATTEMPTS:
        return f"must be a whole number from 1 to {MAX_ATTEMPTS}, not {value}"
    return None


def _tables(value: Any) -> str | None:
    is_one = value in ("markdown", "html")
    return None if is_one else f"must be markdown or html, not {value}"


def _rotate(value: Any) -> str | None:
    return None if value in ("auto", "none") else "must be auto or none"


def _truth(value: Any) -> str | None:
    is_one = isinstance(value, bool | str) and str(value).lower() in (*TRUE, *FALSE)
    return None if is_one else f"must be true or false, not {value}"


def _canonical_pages(value: Option) -> str:
    """1-3,7 for " 01 - 3, 7"."""
    return ",".join(
        f"{first}-"
        if last is None
        else str(first)
        if first == last
        else f"{first}-{last}"
        for first, last in intervals(str(value))
    )


def _canonical_whole(value: Option) -> int:
    return int(float(value))


def _canonical_seconds(value: Option) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() else number


def _canonical_temperature(value: Option) -> float:
    # Zero has two signs.
    return float(value) + 0.0


def _canonical_truth(value: Option) -> bool:
    return str(value).lower() in TRUE


CANONICAL: Mapping[str, Callable[[Option], Option]] = {
    "pages": _canonical_pages,
    "max_output_tokens": _canonical_whole,
    "deadline_seconds": _canonical_seconds,
    "include_images": _canonical_truth,
    "include_headers_footers": _canonical_truth,
    "temperature": _canonical_temperature,
    "max_attempts": _canonical_whole,
    "paginate": _canonical_truth,
    "inline_images": _canonical_truth,
}
"""The one spelling of each value that has several."""


def _sentence(name: str, where: str | None, wrong: str) -> str:
    if where is not None:
        return f"{where}: {name} {wrong}"
    flag = f"--{name.replace('_', '-')}"
    return f"{flag}: {name.replace('_', ' ')} {wrong}"


def _hint(name: str, where: str | None) -> str:
    if where is not None:
        return OPTION_HINT
    return f"--{name.replace('_', '-')} {EXAMPLES.get(name, '4000')}"


EXAMPLES = {
    "pages": "1-3,7",
    "temperature": "0.3",
    "max_attempts": "3",
    "prompt": "'What is the total?'",
}


OPTIONS: Mapping[str, Callable[[Any], str | None]] = {
    "prompt_type": _prompt_type,
    "pages": _pages,
    "max_output_tokens": _whole,
    "deadline_seconds": _seconds,
    "include_images": _truth,
    "include_headers_footers": _truth,
    "prompt": _prompt,
    "temperature": _temperature,
    "max_attempts": _attempts,
    "paginate": _truth,
    "tables": _tables,
    "inline_images": _truth,
    "rotate": _rotate,
}
"""What a request may say, and what is wrong with a value of it; None: nothing."""
