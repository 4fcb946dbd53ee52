"""Parser and checks of request options, given as JSON values or as text."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from handler.errors import InvalidOptionError
from handler.schema import Options

__all__ = [
    "MAX_ATTEMPTS",
    "MAX_OPTION_BYTES",
    "MAX_TEMPERATURE",
    "PARSERS",
    "PROMPT_TYPES",
    "SECRET_OPTIONS",
    "TABLES",
    "option_too_long_error",
    "parse_options",
    "quoted",
    "refuse_secrets",
]

PROMPT_TYPES = ("ocr_layout", "ocr")
ROTATIONS = ("auto", "none")
TABLES = ("markdown", "html")
SECRET_OPTIONS = ("password",)
"""Options that are refused in a query string, because servers and proxies log URLs."""
MAX_DEADLINE_SECONDS = 86_400.0
MAX_TEMPERATURE = 2.0
"""Limit for `temperature`; above it, tokens are sampled nearly at random."""
MAX_ATTEMPTS = 10
"""Limit for `max_attempts`, so that one page cannot keep the engine for long."""
_SPECIAL_TOKEN = re.compile(r"<\|[^<>|\s]{1,40}\|>")
"""Pattern of the models' special tokens, such as `<|im_end|>`. In a prompt, they would
end it or stand for an image."""
MAX_OPTION_BYTES = 8192
"""Limit for a name or value as written; enough for `pages` with a thousand pages."""
_NAMES_OF_OTHER_APIS = {
    "Document": "Amazon Textract",
    "base64Source": "Azure Document Intelligence",
    "urlSource": "Azure Document Intelligence",
    "contents": "Google Gemini",
    "file_sources": "docling-serve",
    "http_sources": "docling-serve",
    "sources": "docling-serve",
    "input": "OpenAI's responses API",
    "messages": "OpenAI's chat API",
    "inputs": "Hugging Face's inference endpoints",
    "instances": "Vertex AI and TensorFlow Serving",
    "requests": "Google Cloud Vision",
}
"""Names of members that contain the document in the JSON bodies of other services."""
_MAX_COMPARED_CHARACTERS = 64
"""Limit for finding a similar name, because comparing takes quadratic time."""


def parse_options(values: Mapping[str, Any]) -> Options:
    """Return the options with these values, which are JSON values or text.

    Raises InvalidOptionError for an option that is unknown, too long or invalid.
    """
    options = Options()
    for name, value in values.items():
        parse = PARSERS.get(name)
        if parse is None:
            raise _unknown_option_error(name)
        if isinstance(value, str) and len(value) > MAX_OPTION_BYTES:
            raise option_too_long_error(name)
        if value is not None:
            options = replace(options, **{name: parse(name, value)})
    return options


def refuse_secrets(names: Iterable[str]) -> None:
    """Raise InvalidOptionError if one of `SECRET_OPTIONS` is in a query string."""
    for name in SECRET_OPTIONS:
        if name in names:
            raise InvalidOptionError(
                f"{name} is not accepted in the query string, because servers and "
                "proxies log URLs: send it in a JSON body, in a form part or in the "
                "header X-Amzn-SageMaker-Custom-Attributes. Change it if it is in use"
            )


def refuse_names_of_other_apis(names: Iterable[str]) -> None:
    """Raise InvalidOptionError if a name belongs to the body of another API."""
    for name in names:
        if name in _NAMES_OF_OTHER_APIS:
            raise _unknown_option_error(name)


def option_too_long_error(name: str) -> InvalidOptionError:
    """Return the error for an option whose value exceeds `MAX_OPTION_BYTES`."""
    if name in _NAMES_OF_OTHER_APIS:
        return _unknown_option_error(name)
    return InvalidOptionError(
        f"option {quoted(name)} has more than {MAX_OPTION_BYTES:,} bytes"
    )


def quoted(text: str) -> str:
    """Return the first 60 characters of a client's text, quoted and escaped as JSON."""
    return json.dumps(text if len(text) <= 60 else text[:60] + "…")


def _unknown_option_error(name: str) -> InvalidOptionError:
    """Return the error for an unknown option, with a suggestion what to send."""
    if api := _NAMES_OF_OTHER_APIS.get(name):
        return InvalidOptionError(
            f'unknown option "{name}"; it belongs to {api}: send '
            '{"document": "<base64 of the file>"} here'
        )
    close = _find_similar(name, PARSERS)
    hint = f"did you mean {close}?" if close else f"known: {_list_options()}"
    return InvalidOptionError(f"unknown option {quoted(name)}; {hint}")


def _find_similar(text: str, names: Iterable[str]) -> str | None:
    """Return the name that is most similar to `text`, or None if none is similar."""
    if len(text) > _MAX_COMPARED_CHARACTERS:
        return None
    return next(iter(difflib.get_close_matches(text, names, n=1)), None)


def _list_options() -> str:
    return ", ".join(PARSERS)


def _parse_prompt_type(name: str, value: Any) -> str:
    if value not in PROMPT_TYPES:
        close = _find_similar(value, PROMPT_TYPES) if isinstance(value, str) else None
        hint = f"; did you mean {close}?" if close else ""
        raise InvalidOptionError(f"{name} must be ocr_layout or ocr{hint}")
    return str(value)


def _parse_rotate(name: str, value: Any) -> str:
    if value not in ROTATIONS:
        raise InvalidOptionError(f"{name} must be auto or none")
    return str(value)


def _parse_tables(name: str, value: Any) -> str:
    if value not in TABLES:
        raise InvalidOptionError(f"{name} must be markdown or html")
    return str(value)


def _parse_prompt(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidOptionError(
            f"{name} must be text; leave it out for the prompt of prompt_type"
        )
    if len(value.encode(errors="surrogatepass")) > MAX_OPTION_BYTES:
        raise option_too_long_error(name)
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise InvalidOptionError(f"{name} must be text without lone surrogates")
    if token := _SPECIAL_TOKEN.search(value):
        raise InvalidOptionError(
            f"{name} must be text without the model's special tokens such as "
            f"{quoted(token[0])}"
        )
    return value


def _parse_temperature(name: str, value: Any) -> float:
    number = _parse_number(name, value)
    if not 0 <= number <= MAX_TEMPERATURE:
        raise InvalidOptionError(f"{name} must be from 0 to {MAX_TEMPERATURE:g}")
    return number


def _parse_attempts(name: str, value: Any) -> int:
    number = _parse_number(name, value)
    if number != int(number) or not 1 <= number <= MAX_ATTEMPTS:
        raise InvalidOptionError(
            f"{name} must be a whole number from 1 to {MAX_ATTEMPTS}"
        )
    return int(number)


def _parse_password(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidOptionError(f"{name} must be a string")
    return value


def _parse_pages(name: str, value: Any) -> str:
    # In JSON, people write a single page as a number.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InvalidOptionError(f'{name} must be page ranges such as "1-3,7"')
    return value


def _parse_positive_int(name: str, value: Any) -> int:
    number = _parse_number(name, value)
    if number != int(number) or number < 1:
        raise InvalidOptionError(f"{name} must be a whole number above 0")
    return int(number)


def _parse_seconds(name: str, value: Any) -> float:
    number = _parse_number(name, value)
    if not 0 < number <= MAX_DEADLINE_SECONDS:
        raise InvalidOptionError(
            f"{name} must be above 0 and at most {MAX_DEADLINE_SECONDS:g}"
        )
    return number


def _parse_number(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
        return number
    except (ValueError, OverflowError) as error:
        raise InvalidOptionError(f"{name} must be a number") from error


def _parse_bool(name: str, value: Any) -> bool:
    match value:
        case bool():
            return value
        case str() if value.lower() in ("true", "1", "yes"):
            return True
        case str() if value.lower() in ("false", "0", "no"):
            return False
    raise InvalidOptionError(f"{name} must be true or false")


PARSERS: Mapping[str, Callable[[str, Any], Any]] = {
    "prompt_type": _parse_prompt_type,
    "pages": _parse_pages,
    "max_output_tokens": _parse_positive_int,
    "deadline_seconds": _parse_seconds,
    "include_images": _parse_bool,
    "include_headers_footers": _parse_bool,
    "prompt": _parse_prompt,
    "temperature": _parse_temperature,
    "max_attempts": _parse_attempts,
    "paginate": _parse_bool,
    "tables": _parse_tables,
    "inline_images": _parse_bool,
    "rotate": _parse_rotate,
    "password": _parse_password,
}
"""Parser of each option's value, by the name of the option.

A parser gets the name, for its error, and the value as JSON or text. It returns the
converted value or raises InvalidOptionError."""
