"""Files that a build reads, by the rules of .dockerignore.

Files that git ignores are filtered in `build`, because only that module runs other
programs.
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
    """Line of .dockerignore."""

    expression: re.Pattern[str]
    is_exception: bool

    def fits(self, name: str) -> bool:
        """Return whether the rule matches a name or a folder above it."""
        parents = (str(parent) for parent in PurePosixPath(name).parents)
        return any(self.expression.fullmatch(each) for each in (name, *parents))


@dataclass(frozen=True, slots=True)
class Ignore:
    """Rules of one build context; the last rule that matches decides."""

    rules: tuple[Rule, ...] = ()
    kept: frozenset[str] = frozenset()
    """Dockerfile and .dockerignore, which a builder always gets."""

    def leaves_out(self, name: str) -> bool:
        """Return whether a build does not get a file."""
        if name in self.kept:
            return False
        is_out = False
        for rule in self.rules:
            if rule.is_exception == is_out and rule.fits(name):
                is_out = not rule.is_exception
        return is_out


def ignore_of(table: ImageTable) -> Ignore:
    """Return the ignore rules of a build.

    A .dockerignore named after the Dockerfile takes precedence over the one in the
    context.
    """
    context, dockerfile = Path(table.context), Path(table.dockerfile)
    candidates = (
        dockerfile.with_name(f"{dockerfile.name}.dockerignore"),
        context / ".dockerignore",
    )
    rules_file = next((path for path in candidates if path.is_file()), None)
    kept = [dockerfile, *([rules_file] if rules_file else ())]
    return Ignore(
        rules=tuple(_rules(rules_file)) if rules_file else (),
        kept=frozenset(
            path.resolve().relative_to(context.resolve()).as_posix()
            for path in kept
            if not is_outside(path, context)
        ),
    )


def is_outside(path: Path, folder: Path) -> bool:
    """Return whether a path lies outside a folder."""
    return not path.resolve().is_relative_to(folder.resolve())


def select_context_files(table: ImageTable, names: Iterable[str]) -> Iterator[str]:
    """Return the files below the context that the build gets."""
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
    """Return a pattern of Go's filepath.Match as a regular expression.

    `**` matches any folders.
    """
    regex, rest = "", pattern
    while rest:
        for text, expression in (
            ("**/", "(?:.*/)?"),
            ("**", ".*"),
            ("*", "[^/]*"),
            ("?", "[^/]"),
        ):
            if rest.startswith(text):
                regex, rest = regex + expression, rest[len(text) :]
                break
        else:
            # A set such as [a-z], an escaped character, or a plain one.
            piece = re.match(r"\[\^?[^/\]]+\]|\\(.)|.", rest, re.DOTALL)
            assert piece is not None
            is_set = piece[0].startswith("[") and len(piece[0]) > 1
            regex += piece[0] if is_set else re.escape(piece[1] or piece[0])
            rest = rest[piece.end() :]
    return regex
