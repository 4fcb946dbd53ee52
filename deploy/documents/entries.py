"""The lines of a manifest of documents, each held to what a line may say.

A line that makes no sense names no document that could fail by itself, and what one
line has wrong the next often has too: nothing of such a manifest is read, and each of
its wrong lines is named with its reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from deploy.documents.document import S3, split_uri
from deploy.documents.options import Option, checked_options
from deploy.errors import ConfigError

__all__ = ["Entry", "entries_of", "is_relative"]

LINE_HINT = 'a line is like {"document": "s3://bucket/scan.pdf", "pages": "1-5"}'
NUM_NAMED = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    source: str
    """A path, from where the manifest is; or s3://bucket/key."""
    name: str | None
    """Of its result, where it asks for one."""
    options: dict[str, Option]


def entries_of(content: bytes, where: str, *, is_stored: bool) -> Sequence[Entry]:
    """Return every line. Raises ConfigError, which says what is wrong with which lines.

    `is_stored`: the manifest lies in S3, from where no file can be named.
    """
    entries: list[Entry] = []
    errors: dict[int, ConfigError] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            try:
                entries.append(_entry(line, f"{where} line {number}", is_stored))
            except ConfigError as error:
                errors[number] = error
    if not errors:
        return entries
    reasons = [error.message for error in islice(errors.values(), NUM_NAMED)]
    if len(errors) > NUM_NAMED:
        reasons.append(f"and {len(errors) - NUM_NAMED} more lines")
    raise ConfigError("; ".join(reasons), hint=next(iter(errors.values())).hint)


def is_relative(name: object) -> bool:
    if not isinstance(name, str) or not name or "\\" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and bool(path.name)


def _entry(line: bytes, where: str, is_stored: bool) -> Entry:
    """A line's document, the name it asks for, and its options."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        counts = Counter(name for name, _ in pairs)
        if repeated := [repr(name[:60]) for name, n in counts.items() if n > 1]:
            raise ConfigError(
                f"{where} has {' and '.join(repeated[:NUM_NAMED])} more than once",
                hint=LINE_HINT,
            )
        return dict(pairs)

    try:
        entry = json.loads(line, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not JSON: {error}", hint=LINE_HINT) from error
    if not isinstance(entry, dict) or not isinstance(entry.get("document"), str):
        raise ConfigError(
            f"{where} must be an object that names a document", hint=LINE_HINT
        )
    source, name = entry.pop("document"), entry.pop("name", None)
    if source.startswith(S3):
        try:
            _, key = split_uri(source)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error.message}", hint=error.hint) from error
        if not key:
            raise ConfigError(
                f"{where}: {source} is a bucket, not an object in it", hint=LINE_HINT
            )
    elif is_stored:
        raise ConfigError(
            f"{where}: a manifest in S3 names documents in S3, not {source}",
            hint=LINE_HINT,
        )
    if name is not None and not is_relative(name):
        raise ConfigError(
            f"{where}: name must be a relative path, not {name!r}",
            hint="the result is put there, below the folder of results",
        )
    return Entry(source, name, checked_options(entry, where))
