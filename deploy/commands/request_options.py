"""Flags for request options, which several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.errors import ConfigError

__all__ = ["add_request_options", "request_options"]

_VALUES: Mapping[str, tuple[str, type | None, str]] = {
    "max_output_tokens": (
        "N",
        int,
        "maximum output tokens per page (default: the limit of the server)",
    ),
    "max_attempts": (
        "N",
        int,
        "attempts for a page whose text repeats itself, 1 to 10 (default: setting of "
        "the server)",
    ),
    "temperature": (
        "T",
        float,
        "sampling temperature, 0 to 2 (default 0: no sampling)",
    ),
    "prompt": (
        "TEXT",
        None,
        "prompt (default: the model's own); @FILE reads it from a file",
    ),
}
_SWITCHES: Mapping[str, str] = {
    "include_images": "add the pictures of the pages to json and html",
    "inline_images": "add the pictures to md and html as data URLs",
    "include_headers_footers": "keep headers and footers of pages in the text",
    "paginate": "write a line with the page number between pages of md",
}


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each option that a whole job may share."""
    for name, (metavar, kind, text) in _VALUES.items():
        parser.add_argument(_flag(name), type=kind or str, metavar=metavar, help=text)
    parser.add_argument(
        "--tables",
        choices=("markdown", "html"),
        help="format of tables in md (default markdown, and html for tables that "
        "Markdown cannot write)",
    )
    for name, text in _SWITCHES.items():
        parser.add_argument(_flag(name), action="store_true", default=None, help=text)


def request_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given, by their names in the service.

    Raises ConfigError for a file with a prompt that cannot be read.
    """
    names = (*_VALUES, "tables", *_SWITCHES)
    values = {name: getattr(options, name) for name in names}
    if values["prompt"] is not None:
        values["prompt"] = _read_prompt(values["prompt"])
    return {name: value for name, value in values.items() if value is not None}


def _read_prompt(argument: str) -> str:
    """Return the prompt, which @FILE reads from a file."""
    if not argument.startswith("@"):
        return argument
    try:
        return Path(argument[1:]).read_text("utf-8-sig").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(
            f"--prompt: {argument[1:]} cannot be read: {reason}",
            hint="--prompt @FILE with a text file, or --prompt TEXT",
        ) from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
