"""Everything this package says to a person at a terminal, or to a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

from deploy.errors import BUG, INTERRUPTED, ConfigError, DeployError

__all__ = ["Console", "megabytes", "table"]


LEAST_PROGRESS_BYTES = 10_000_000


class Console:
    """Where output goes; with `as_json`, one object on stdout, the rest on stderr."""

    def __init__(
        self,
        *,
        as_json: bool = False,
        assume_yes: bool = False,
        out: IO[str] | None = None,
        err: IO[str] | None = None,
        answers: IO[str] | None = None,
    ) -> None:
        self.as_json = as_json
        self.assume_yes = assume_yes
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._answers: IO[str] | None = answers or sys.stdin
        self._last_progress: tuple[str, int] | None = None

    def say(self, text: str = "") -> None:
        """A line for people."""
        _print(text, self._err if self.as_json else self._out)

    def result(self, data: Any, lines: Iterable[str] = ()) -> None:
        """What the command was asked for: `data` for programs, `lines` for people."""
        if self.as_json:
            print(json.dumps(data, indent=2, default=str), file=self._out, flush=True)
            return
        for line in lines:
            self.say(line)

    def write(self, text: str) -> None:
        """Text exactly as it is, such as a document."""
        print(text, file=self._out, end="", flush=True)

    def progress(self, label: str, done: int, total: int) -> None:
        """A bar on a terminal; elsewhere a line for each tenth of what takes time."""
        if total < LEAST_PROGRESS_BYTES:
            return
        tenth = 10 * done // max(total, 1)
        if self._err.isatty():
            bar = ("#" * (3 * tenth)).ljust(30)
            end = "\n" if done >= total else ""
            print(
                f"\r{label[:30]:30} [{bar}] {megabytes(done)} of {megabytes(total)}",
                file=self._err,
                end=end,
                flush=True,
            )
        elif (label, tenth) != self._last_progress:
            self._last_progress = (label, tenth)
            self.say(f"{label}: {megabytes(done)} of {megabytes(total)}")

    def error(self, error: DeployError) -> None:
        if self.as_json:
            self.result({"error": error.to_json()})
            return
        _print(f"error: {error.message}", self._err)
        if error.hint:
            _print(f"try:   {error.hint}", self._err)

    def interrupted(self, sentence: str) -> None:
        """Ctrl-C: what exists now."""
        self._fault("interrupted", sentence, INTERRUPTED)
        self.warn(f"\ninterrupted. {sentence}")

    def bug(self, message: str, lines: str) -> None:
        """What nobody expected, and where."""
        self._fault("bug", message, BUG)
        self.warn(lines)
        self.warn("this is a bug: please report it with the lines above")

    def _fault(self, code: str, message: str, status: int) -> None:
        """Only for programs: people are told more."""
        if self.as_json:
            fault = {"code": code, "message": message, "hint": None}
            self.result({"error": fault | {"exit_code": status}})

    def declined(self) -> None:
        """The answer was no."""
        self.result({"changed": False}, ["nothing was changed"])

    def warn(self, text: str) -> None:
        _print(text, self._err)

    def confirm(self, question: str) -> bool:
        """Ask, unless --yes was given; without a terminal the answer must be a flag."""
        if self.assume_yes:
            return True
        if self._answers is None or not self._answers.isatty():
            raise ConfigError(
                f"there is no terminal to ask at: {question}", hint="add --yes"
            )
        print(f"{question} [y/N] ", file=self._err, end="", flush=True)
        return self._answers.readline().strip().lower() in ("y", "yes")

    def agree(self, question: str) -> bool:
        """Ask at a terminal, unless --yes was given; a script goes on without."""
        # A process that was started without stdin has none.
        is_terminal = self._answers is not None and self._answers.isatty()
        return not is_terminal or self.confirm(question)


def _print(text: str, file: IO[str]) -> None:
    """A line; what the terminal has no letter for, as a file's name may hold it, is
    escaped."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    line = text.encode(encoding, "backslashreplace").decode(encoding)
    print(line, file=file, flush=True)


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with their columns aligned."""
    if not rows:
        return []
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
