"""Which files a build sees, by the rules of .dockerignore.

What git ignores is `image`'s to ask for: only that may run other programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deploy.config import ImageTable
from deploy.errors import ConfigError

__all__ = ["Ignore", "ignore_of", "is_outside", "select_context_files"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the file."""

    expression: re.Pattern[str]
    is_exception: bool

    def fits(self, name: str) -> bool:
        """The name itself, or a folder that it lies in."""
        parents = (str(parent) for parent in PurePosixPath(name).parents)
        return any(self.expression.fullmatch(each) for each in (name, *parents))


@dataclass(frozen=True, slots=True)
class Ignore:
    """The rules of one context; of several that fit a name, the last decides."""

    rules: tuple[Rule, ...] = ()
    kept: frozenset[str] = frozenset()
    """Dockerfile and the file of the rules: a builder gets them whatever they say."""

    def leaves_out(self, name: str) -> bool:
        if name in self.kept:
            return False
        is_out = False
        for rule in self.rules:
            if rule.is_exception == is_out and rule.fits(name):
                is_out = not rule.is_exception
        return is_out


def ignore_of(table: ImageTable) -> Ignore:
    """Those beside the Dockerfile, with its name, go before the context's own."""
    context, dockerfile = Path(table.context), Path(table.dockerfile)
    candidates = (
        dockerfile.with_name(f"{dockerfile.name}.dockerignore"),
        context / ".dockerignore",
    )
    found = next((path for path in candidates if path.is_file()), None)
    kept = [dockerfile, *([found] if found else ())]
    return Ignore(
        rules=tuple(_rules(found)) if found else (),
        kept=frozenset(
            path.resolve().relative_to(context.resolve()).as_posix()
            for path in kept
            if not is_outside(path, context)
        ),
    )


def is_outside(path: Path, folder: Path) -> bool:
    return not path.resolve().is_relative_to(folder.resolve())


def select_context_files(table: ImageTable, names: Iterable[str]) -> Iterator[str]:
    """Of the names below the context, those that the build gets."""
    ignore = ignore_of(table)
    return (name for name in names if not ignore.leaves_out(name))


def _rules(path: Path) -> Iterator[Rule]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}", hint=f"write {path} again, in UTF-8"
        ) from error
    for line in lines:
        text = line.strip()
        if not text or line.startswith("#"):
            continue
        is_exception = text.startswith("!")
        pattern = text.removeprefix("!").strip().strip("/")
        if pattern not in ("", "."):
            pattern = str(PurePosixPath(pattern))
            yield Rule(re.compile(_expression(pattern), re.DOTALL), is_exception)


def _expression(pattern: str) -> str:
    """Go's filepath.Match as a regular expression, with `**` for any folders."""
    found, rest = "", pattern
    while rest:
        for text, expression in (("**/", "(?:.*/)?"), ("**", ".*"), ("*", "[^/]*"),
                                 ("?", "[^/]")):  # fmt: skip
            if rest.startswith(text):
                found, rest = found + expression, rest[len(text) :]
                break
        else:
            # A set such as [a-z], a character that a backslash makes plain, or itself.
            piece = re.match(r"\[\^?[^/\]]+\]|\\(.)|.", rest, re.DOTALL)
            assert piece is not None
            is_set = piece[0].startswith("[") and len(piece[0]) > 1
            found += piece[0] if is_set else re.escape(piece[1] or piece[0])
            rest = rest[piece.end() :]
    return found
