"""Output of `invoke`: the terminal, a file or a JSON object."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from deploy.context import Context
from deploy.errors import ConfigError

__all__ = ["Output", "refuse_unwritable"]

WRITABLE = "--output with a writable path"


class Output:
    """Terminal or file to which pages and the end of a result are written.

    A file is created by the first write. Writing raises ConfigError if it fails.
    """

    def __init__(self, context: Context, options: argparse.Namespace) -> None:
        self._console = context.console
        self._format: str = options.format
        self._path: Path | None = options.output
        self.num_written = 0

    @property
    def is_live(self) -> bool:
        """True if pages are written as they arrive, to the terminal or to a file."""
        is_object = self._path is None and self._console.as_json
        return self._format in ("md", "ndjson") and not is_object

    @property
    def progress_sentence(self) -> str:
        """Sentence on the pages written so far, for a command that ends early."""
        if not self.num_written:
            return "nothing was written"
        where = "shown above" if self._path is None else f"in {self._path}"
        return f"pages received, {where}: {self.num_written}"

    def write_page(self, text: str) -> None:
        """Write a page at once, because the stream may break off after it."""
        if self._path is None:
            self._console.write(text)
        else:
            self._write_file(self._path, text, "a" if self.num_written else "w")
        self.num_written += 1

    def finish(self, content: str) -> None:
        """Write the rest of the result, and name the output file."""
        if self._path is not None:
            if content or not self.num_written:
                self._write_file(self._path, content, "a" if self.num_written else "w")
            self._console.print_result(
                {"format": self._format, "output": str(self._path)},
                [f"wrote {self._path}"],
            )
        elif self._console.as_json and self._format != "json":
            self._console.print_result({"format": self._format, "content": content})
        else:
            self._console.write(content)

    @staticmethod
    def _write_file(path: Path, text: str, mode: str) -> None:
        try:
            with path.open(mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}", hint=WRITABLE
            ) from error


def refuse_unwritable(path: Path) -> None:
    """Raise ConfigError if an output file cannot be written, before a request costs."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder", hint=WRITABLE)
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent}", hint=WRITABLE)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(f"{path} cannot be written", hint=WRITABLE)
