"""Output of the commands, for a person at a terminal or for a program."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import IO, Any

from deploy.errors import BUG, INTERRUPTED, ConfigError, DeployError

__all__ = ["Console", "megabytes", "minute", "printable", "progress_line", "table"]


LEAST_PROGRESS_BYTES = 10_000_000
BAR_COLUMNS, LEAST_BAR_COLUMNS = 30, 5
# These characters change the direction of the text that follows.
BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Console:
    """Standard output and standard error of a command.

    With `as_json`, standard output gets one JSON object and standard error the rest.
    """

    def __init__(
        self,
        *,
        as_json: bool = False,
        assume_yes: bool = False,
        out: IO[str] | None = None,
        err: IO[str] | None = None,
        answers: IO[str] | None = None,
        columns: int | None = None,
    ) -> None:
        """Write to `out` and `err`, and read answers to questions from `answers`.

        `columns` is the width of the terminal. None asks the terminal each time.
        """
        self.as_json = as_json
        self.assume_yes = assume_yes
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._answers: IO[str] | None = answers or sys.stdin
        self._columns = columns
        self._last_progress: tuple[str, int] | None = None

    def say(self, text: str = "") -> None:
        """Print a line: on standard output, or on standard error with --json."""
        _print(text, self._err if self.as_json else self._out)

    def print_result(self, data: Mapping[str, Any], lines: Iterable[str] = ()) -> None:
        """Print the result on standard output.

        With --json it is `data` as one JSON object, in which times are ISO 8601 with
        their zone; otherwise it is `lines`.
        """
        if self.as_json:
            text = json.dumps(data, indent=2, default=_to_json)
            print(text, file=self._out, flush=True)
            return
        for line in lines:
            self.say(line)

    def write(self, text: str) -> None:
        """Write a document to standard output, without a line feed at its end.

        On a terminal, control characters are escaped.
        """
        if self._out.isatty():
            text = printable(text)
        print(text, file=self._out, end="", flush=True)

    def show_progress(self, label: str, done: int, total: int) -> None:
        """Show how many of `total` bytes of a transfer are done.

        A terminal gets a bar that overwrites the last one, and any other output a line
        for each tenth. Nothing is shown for transfers below 10 MB.
        """
        if total < LEAST_PROGRESS_BYTES:
            return
        tenth = 10 * done // max(total, 1)
        if self._err.isatty():
            columns = self._columns or _columns_of(self._err)
            line = progress_line(label, done, total, columns)
            end = "\n" if done >= total else ""
            print(f"\r{line}", file=self._err, end=end, flush=True)
        elif (label, tenth) != self._last_progress:
            self._last_progress = (label, tenth)
            self.say(f"{label}: {megabytes(done)} of {megabytes(total)}")

    def print_error(self, error: DeployError) -> None:
        """Print an error and its hint: on standard error, or as JSON with --json."""
        if self.as_json:
            self.print_result({"error": error.to_json()})
            return
        _print(f"error: {error.message}", self._err)
        if error.hint:
            _print(f"try:   {error.hint}", self._err)

    def report_interrupt(self, sentence: str) -> None:
        """Print after Ctrl-C that the command was interrupted, and `sentence`.

        `sentence` says what the command has done.
        """
        self._print_fault_as_json("interrupted", sentence, INTERRUPTED)
        self.warn(f"\ninterrupted. {sentence}")

    def report_bug(self, message: str, lines: str) -> None:
        """Print an unexpected exception: `message`, and the traceback in `lines`."""
        self._print_fault_as_json("bug", message, BUG)
        self.warn(lines)
        self.warn("this is a bug: please report it with the lines above")

    def _print_fault_as_json(self, code: str, message: str, status: int) -> None:
        """Print an interrupt or a bug as a JSON object with --json, else nothing."""
        if self.as_json:
            fault = {"code": code, "message": message, "hint": None}
            self.print_result({"error": fault | {"exit_code": status}})

    def report_declined(self) -> None:
        """Print that nothing was changed, because the user declined."""
        self.print_result({"changed": False}, ["nothing was changed"])

    def warn(self, text: str) -> None:
        """Print a line on standard error."""
        _print(text, self._err)

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question, and return True if the answer is yes.

        With --yes it returns True without asking. Raises ConfigError if stdin is not a
        terminal and --yes is missing.
        """
        if self.assume_yes:
            return True
        if self._answers is None or not self._answers.isatty():
            raise ConfigError(
                f"confirmation needed, but stdin is not a terminal: {question}",
                hint="add --yes",
            )
        print(f"{printable(question)} [y/N] ", file=self._err, end="", flush=True)
        return self._answers.readline().strip().lower() in ("y", "yes")

    def agree(self, question: str) -> bool:
        """Ask like `confirm`, but return True without asking outside a terminal."""
        # Python sets sys.stdin to None in a process that was started without it.
        is_terminal = self._answers is not None and self._answers.isatty()
        return not is_terminal or self.confirm(question)


def _to_json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def printable(text: str) -> str:
    r"""Return the text with control characters escaped, as `\x1b`.

    Control characters in logs and errors of other programs could move the cursor,
    change the title or overwrite lines of a terminal. Line feeds and tabs stay.
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if _is_control(character)
        else character
        for character in text
    )


def _is_control(character: str) -> bool:
    if character in "\n\t":
        return False
    # Lone surrogates are undecodable bytes of file names. `_print` encodes them as the
    # terminal can show them.
    return unicodedata.category(character) == "Cc" or character in BIDI_CONTROLS


def _print(text: str, file: IO[str]) -> None:
    """Print a line; escape control characters and what the terminal cannot encode."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    line = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    print(line, file=file, flush=True)


def _columns_of(terminal: IO[str]) -> int:
    """Return the columns of the terminal that `terminal` writes to.

    If they are not known, return those that shutil finds, by default 80.
    """
    try:
        # Standard output may be a file while the bar is on standard error.
        columns = os.get_terminal_size(terminal.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return columns or shutil.get_terminal_size().columns


def progress_line(label: str, done: int, total: int, columns: int) -> str:
    """Return a progress line of `columns` - 1 columns, at most 100.

    It has the label, a bar, and `done` of `total` bytes. A line as wide as the terminal
    would wrap, and the next one would not overwrite it. If the label does not fit, the
    bar is left out; if that is not enough, a percentage replaces the sizes, and the
    label is cut. Characters of the label that do not take one column are escaped.
    """
    label = _escape_wide_and_combining(label)
    width = max(1, min(columns - 1, 100))
    share = min(1.0, done / max(total, 1))
    sizes = f"{megabytes(done)} of {megabytes(total)}"
    percent = f"{share:4.0%}"
    shown = label if len(label) <= 30 else f"{label[:29]}…"
    room = width - len(shown) - len(sizes) - 4
    if room >= LEAST_BAR_COLUMNS:
        bar_columns = min(BAR_COLUMNS, room)
        bar = ("#" * int(share * bar_columns)).ljust(bar_columns)
        line = f"{shown} [{bar}] {sizes}"
    elif len(shown) + 1 + len(sizes) <= width:
        line = f"{shown} {sizes}"
    else:
        line = f"{shown[: max(0, width - len(percent) - 1)]} {percent}".lstrip()
    return line[:width].ljust(width)


def _escape_wide_and_combining(text: str) -> str:
    """Return the text with each character escaped that does not take one column."""
    return "".join(
        character
        if character.isprintable()
        and unicodedata.east_asian_width(character) not in "WF"
        and not unicodedata.category(character).startswith("M")
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def minute(when: datetime) -> str:
    """Return a time to the minute, with its zone, such as "2026-11-26 08:00 UTC"."""
    return f"{when:%Y-%m-%d %H:%M} {when.tzname() or ''}".rstrip()


def megabytes(size: int) -> str:
    """Return a number of bytes as megabytes, such as "1.5 MB"."""
    return f"{size / 1e6:,.1f} MB"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of equal length as lines with aligned columns; no rows, no lines."""
    if not rows:
        return []
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
