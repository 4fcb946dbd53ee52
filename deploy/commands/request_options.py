"""The flags for request options, the same for every command."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.errors import ConfigError

__all__ = ["add_request_options", "request_options"]

_VALUES: Mapping[str, tuple[str, type | None, str]] = {
    "max_output_tokens": ("N", int, "of each page"),
    "max_attempts": ("N", int, "times to read a page whose text repeats itself, 1-10"),
    "temperature": ("T", float, "0 to 2; above 0, tokens are drawn (default 0)"),
    "prompt": ("TEXT", None, "in place of the model's own; @FILE reads it from a file"),
}
_SWITCHES: Mapping[str, str] = {
    "include_images": "pictures cut out of the pages, in json and html",
    "inline_images": "pictures in md and html as data URLs",
    "include_headers_footers": "headers and footers of pages in the text",
    "paginate": "a line with a number between two pages of md",
}


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each option that a whole job may share."""
    for name, (metavar, kind, text) in _VALUES.items():
        parser.add_argument(_flag(name), type=kind or str, metavar=metavar, help=text)
    parser.add_argument(
        "--tables",
        choices=("markdown", "html"),
        help="how md writes tables (default markdown, and html where it cannot)",
    )
    for name, text in _SWITCHES.items():
        parser.add_argument(_flag(name), action="store_true", default=None, help=text)


def request_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given, by their names in the service.

    Raises ConfigError for a file with a prompt that cannot be read.
    """
    names = (*_VALUES, "tables", *_SWITCHES)
    given = {name: getattr(options, name) for name in names}
    if given["prompt"] is not None:
        given["prompt"] = _prompt(given["prompt"])
    return {name: value for name, value in given.items() if value is not None}


def _prompt(written: str) -> str:
    if not written.startswith("@"):
        return written
    try:
        return Path(written[1:]).read_text("utf-8-sig").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(
            f"--prompt: {written[1:]} cannot be read: {reason}",
            hint="--prompt @FILE with a text file, or --prompt TEXT",
        ) from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
