"""Options of a request, checked by the rules of the service.

`deploy` does not import the handler, so the rules are repeated here; a test compares
both for the same values.
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
    "canonical_options",
    "check_options",
    "count_selected_pages",
    "find_highest_page",
    "format_attributes",
    "parse_page_ranges",
]

Option = str | int | float | bool

EXAMPLE = "1-3,7,9- (counted from 1; 9- is page 9 to the last)"
OPTION_HINT = "options are those of handler/README.md, as in pages=1-3"
# The service has the same limit of digits.
RANGE = re.compile(r"\s*(\d{1,18})\s*(?:(-)\s*(\d{1,18})?\s*)?", re.ASCII)
PROMPT_TYPES = ("ocr_layout", "ocr")
TRUE_VALUES = ("true", "1", "yes")
FALSE_VALUES = ("false", "0", "no")
SECRET = ("password",)
"""Options that are never written to a file; only `invoke` sends them."""
MAX_DEADLINE_SECONDS = 86_400
MAX_TEMPERATURE = 2
MAX_ATTEMPTS = 10
MAX_PROMPT_BYTES = 8192
SPECIAL_TOKEN = re.compile(r"<\|[^<>|\s]{1,40}\|>")
MAX_HEADER = 1024
"""Characters that SageMaker accepts for an address, and for the options."""


def check_options(
    values: Mapping[str, Any], location: str | None = None
) -> dict[str, Option]:
    """Check options; return them in canonical spelling, without values of None.

    `location` names a line of a manifest in errors; None stands for command-line flags.
    Raises ConfigError for an unknown option, a password, and a value that the service
    would reject.
    """
    options: dict[str, Option] = {}
    for name, value in values.items():
        if name in SECRET:
            raise ConfigError(
                f"{location or name}: a password would be kept in a manifest, a ledger "
                "or a queue, where others can read it",
                hint="qpdf --decrypt, or chandra-sagemaker invoke --password-env NAME",
            )
        if name not in OPTIONS:
            similar_names = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = (
                f"did you mean {similar_names[0]}?"
                if similar_names
                else f"known: {', '.join(OPTIONS)}"
            )
            raise ConfigError(f"{location}: unknown option {name}", hint=hint)
        if value is None:
            continue
        if name == "pages" and isinstance(value, int) and not isinstance(value, bool):
            # In JSON, a single page is often written as a number.
            value = str(value)
        if mistake := _find_mistake(name, value):
            raise ConfigError(
                _build_message(name, location, mistake),
                hint=_build_hint(name, location),
            )
        options[name] = value
    return canonical_options(options)


def canonical_options(options: Mapping[str, Option]) -> dict[str, Option]:
    """Return options that were checked, each in canonical spelling.

    The service reads "yes" and true alike, so both must give the same key of a
    document. Page ranges keep their order, because results are named after them.
    """
    return {
        name: CANONICAL[name](value) if name in CANONICAL else value
        for name, value in options.items()
    }


def format_attributes(options: Mapping[str, Option]) -> str:
    """Return options as CustomAttributes, such as `pages=1-3;rotate=none`.

    The prompt is percent-encoded.
    """
    return ";".join(
        f"{name}={_format_value(name, value)}" for name, value in options.items()
    )


def _format_value(name: str, value: Option) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if name != "prompt":
        return str(value)
    # HTTP and the service drop blanks around a value.
    coded = quote(str(value), safe=" ,.?!")
    return re.sub("^ +| +$", lambda blanks: "%20" * len(blanks[0]), coded)


def parse_page_ranges(pages: str) -> list[tuple[int, int | None]]:
    """Return first and last page of each range, in the order in which they are written.

    The last page is None for an open range such as `9-`. Raises ValueError with a
    reason that continues a sentence about pages.
    """
    ranges: list[tuple[int, int | None]] = []
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
        ranges.append((first, last))
    return ranges


def find_highest_page(pages: str) -> int:
    """Return the highest page number that is written in checked ranges."""
    return max(last or first for first, last in parse_page_ranges(pages))


def count_selected_pages(pages: str | None, total: int | None) -> int | None:
    """Return how many of `total` pages ranges such as `1-3,7` select.

    Without ranges, all pages are selected. Returns None if the result depends on a
    total that is unknown.
    """
    if pages is None:
        return total
    num_selected = highest_counted = 0
    for first, last in sorted(
        parse_page_ranges(pages), key=lambda interval: interval[0]
    ):
        if last is None and total is None:
            return None
        last_counted = min(n for n in (last, total) if n is not None)
        num_selected += max(0, last_counted - max(first, highest_counted + 1) + 1)
        highest_counted = max(highest_counted, last_counted)
    return num_selected


def _find_mistake(name: str, value: Any) -> str | None:
    """Return the end of a sentence that says what is required; None if valid."""
    if not isinstance(value, str | int | float):
        return "must be text or a number"
    text = str(value)
    if name == "prompt":
        return _check_prompt(value)
    if not (text.isascii() and text.isprintable()) or ";" in text:
        # Options are sent in one header, separated by semicolons.
        return f"must be plain text, not {text[:60]!r}"
    return OPTIONS[name](value)


def _check_pages(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"look like {EXAMPLE}, not {value}"
    try:
        parse_page_ranges(value)
    except ValueError as error:
        return str(error)
    return None


def _check_positive_integer(value: Any) -> str | None:
    number = _parse_number(value)
    if number is None or number != int(number) or number < 1:
        return f"must be a whole number above 0, not {value}"
    return None


def _check_seconds(value: Any) -> str | None:
    number = _parse_number(value)
    if number is None or not 0 < number <= MAX_DEADLINE_SECONDS:
        return f"must be above 0 and at most {MAX_DEADLINE_SECONDS}, not {value}"
    return None


def _parse_number(value: Any) -> float | None:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _check_prompt_type(value: Any) -> str | None:
    if value in PROMPT_TYPES:
        return None
    return f"must be {' or '.join(PROMPT_TYPES)}, not {value}"


def _check_prompt(value: Any) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return "must be text"
    try:
        if len(value.encode()) > MAX_PROMPT_BYTES:
            return f"has more than {MAX_PROMPT_BYTES:,} bytes"
    except UnicodeEncodeError:
        return "must be text that can be encoded as UTF-8"
    if token := SPECIAL_TOKEN.search(value):
        return f"must be without the model's special tokens such as {token[0]}"
    return None


def _check_temperature(value: Any) -> str | None:
    number = _parse_number(value)
    if number is None or not 0 <= number <= MAX_TEMPERATURE:
        return f"must be from 0 to {MAX_TEMPERATURE}, not {value}"
    return None


def _check_attempts(value: Any) -> str | None:
    number = _parse_number(value)
    if number is None or number != int(number) or not 1 <= number <= MAX_ATTEMPTS:
        return f"must be a whole number from 1 to {MAX_ATTEMPTS}, not {value}"
    return None


def _check_tables(value: Any) -> str | None:
    is_valid = value in ("markdown", "html")
    return None if is_valid else f"must be markdown or html, not {value}"


def _check_rotate(value: Any) -> str | None:
    return None if value in ("auto", "none") else "must be auto or none"


def _check_boolean(value: Any) -> str | None:
    is_valid = isinstance(value, bool | str) and str(value).lower() in (
        *TRUE_VALUES,
        *FALSE_VALUES,
    )
    return None if is_valid else f"must be true or false, not {value}"


def _canonical_pages(value: Option) -> str:
    """Return ranges without blanks and leading zeros: 1-3,7 for " 01 - 3, 7"."""
    return ",".join(
        f"{first}-"
        if last is None
        else str(first)
        if first == last
        else f"{first}-{last}"
        for first, last in parse_page_ranges(str(value))
    )


def _canonical_integer(value: Option) -> int:
    return int(float(value))


def _canonical_seconds(value: Option) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() else number


def _canonical_temperature(value: Option) -> float:
    # Zero has two signs.
    return float(value) + 0.0


def _canonical_boolean(value: Option) -> bool:
    return str(value).lower() in TRUE_VALUES


CANONICAL: Mapping[str, Callable[[Option], Option]] = {
    "pages": _canonical_pages,
    "max_output_tokens": _canonical_integer,
    "deadline_seconds": _canonical_seconds,
    "include_images": _canonical_boolean,
    "include_headers_footers": _canonical_boolean,
    "temperature": _canonical_temperature,
    "max_attempts": _canonical_integer,
    "paginate": _canonical_boolean,
    "inline_images": _canonical_boolean,
}
"""Conversion of a value to its canonical spelling, by option."""


def _build_message(name: str, location: str | None, mistake: str) -> str:
    if location is not None:
        return f"{location}: {name} {mistake}"
    flag = f"--{name.replace('_', '-')}"
    return f"{flag}: {name.replace('_', ' ')} {mistake}"


def _build_hint(name: str, location: str | None) -> str:
    if location is not None:
        return OPTION_HINT
    return f"--{name.replace('_', '-')} {EXAMPLES.get(name, '4000')}"


EXAMPLES = {
    "pages": "1-3,7",
    "temperature": "0.3",
    "max_attempts": "3",
    "prompt": "'What is the total?'",
}


OPTIONS: Mapping[str, Callable[[Any], str | None]] = {
    "prompt_type": _check_prompt_type,
    "pages": _check_pages,
    "max_output_tokens": _check_positive_integer,
    "deadline_seconds": _check_seconds,
    "include_images": _check_boolean,
    "include_headers_footers": _check_boolean,
    "prompt": _check_prompt,
    "temperature": _check_temperature,
    "max_attempts": _check_attempts,
    "paginate": _check_boolean,
    "tables": _check_tables,
    "inline_images": _check_boolean,
    "rotate": _check_rotate,
}
"""Check of each option: what is required, or None if the value is valid."""
