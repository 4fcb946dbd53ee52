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

__all__ = ["Ignore", "is_outside", "read_ignore_rules", "select_context_files"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Rule in a line of .dockerignore."""

    expression: re.Pattern[str]
    is_exception: bool

    def matches(self, name: str) -> bool:
        """Return whether the rule matches a name or a folder above it."""
        parents = (str(parent) for parent in PurePosixPath(name).parents)
        return any(self.expression.fullmatch(each) for each in (name, *parents))


@dataclass(frozen=True, slots=True)
class Ignore:
    """Rules of one build context; the last rule that matches decides."""

    rules: tuple[Rule, ...] = ()
    kept: frozenset[str] = frozenset()
    """Dockerfile and .dockerignore, which a builder always gets."""

    def is_left_out(self, name: str) -> bool:
        """Return whether the rules keep a file out of the build."""
        if name in self.kept:
            return False
        is_out = False
        for rule in self.rules:
            if rule.is_exception == is_out and rule.matches(name):
                is_out = not rule.is_exception
        return is_out


def read_ignore_rules(table: ImageTable) -> Ignore:
    """Read the ignore rules of a build; raises ConfigError if they are not UTF-8.

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
        rules=tuple(_read_rules(rules_file)) if rules_file else (),
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
    """Return those of `names` that .dockerignore does not keep out of the build."""
    ignore = read_ignore_rules(table)
    return (name for name in names if not ignore.is_left_out(name))


def _read_rules(path: Path) -> Iterator[Rule]:
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
            yield Rule(re.compile(_to_regex(pattern), re.DOTALL), is_exception)


def _to_regex(pattern: str) -> str:
    """Convert a pattern of .dockerignore to a regular expression.

    It has the syntax of Go's filepath.Match, and `**` matches any number of folders.
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
