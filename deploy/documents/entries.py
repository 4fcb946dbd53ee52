"""Lines of a manifest of documents, checked before any document is read.

If a line is invalid, the whole manifest is rejected, and each invalid line is reported
with its reason: an invalid line names no document that could fail on its own, and the
same mistake is often in other lines.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from deploy.documents.document import S3, split_uri
from deploy.documents.options import Option, check_options
from deploy.errors import ConfigError

__all__ = ["ManifestEntry", "is_relative", "parse_manifest"]

LINE_HINT = 'a line is like {"document": "s3://bucket/scan.pdf", "pages": "1-5"}'
NUM_NAMED = 10


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """Line of a manifest."""

    source: str
    """A path relative to the manifest, or s3://bucket/key."""
    name: str | None
    """Name of its result; None if the line does not give one."""
    options: dict[str, Option]


def parse_manifest(
    content: bytes, location: str, *, is_stored: bool
) -> Sequence[ManifestEntry]:
    """Return the lines of a manifest, without blank lines.

    `location` is the name of the manifest in errors. `is_stored` says that it lies in
    S3, so that it cannot name files. Raises ConfigError with the reasons of up to
    `NUM_NAMED` invalid lines.
    """
    entries: list[ManifestEntry] = []
    errors: dict[int, ConfigError] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            try:
                entries.append(
                    _parse_line(line, f"{location} line {number}", is_stored)
                )
            except ConfigError as error:
                errors[number] = error
    if not errors:
        return entries
    reasons = [error.message for error in islice(errors.values(), NUM_NAMED)]
    if len(errors) > NUM_NAMED:
        reasons.append(f"and {len(errors) - NUM_NAMED} more lines")
    raise ConfigError("; ".join(reasons), hint=next(iter(errors.values())).hint)


def is_relative(name: object) -> bool:
    """Return whether a name is a path that stays below its folder."""
    if not isinstance(name, str) or not name or "\\" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and bool(path.name)


def _parse_line(line: bytes, location: str, is_stored: bool) -> ManifestEntry:
    """Return the content of one line; raises ConfigError if it is invalid."""

    def reject_repeated_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
        counts = Counter(name for name, _ in pairs)
        if repeated := [repr(name[:60]) for name, n in counts.items() if n > 1]:
            raise ConfigError(
                f"{location} has {' and '.join(repeated[:NUM_NAMED])} more than once",
                hint=LINE_HINT,
            )
        return dict(pairs)

    try:
        entry = json.loads(line, object_pairs_hook=reject_repeated_names)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{location} is not JSON: {error}", hint=LINE_HINT) from error
    if not isinstance(entry, dict) or not isinstance(entry.get("document"), str):
        raise ConfigError(
            f"{location} must be an object that names a document", hint=LINE_HINT
        )
    source, name = entry.pop("document"), entry.pop("name", None)
    if source.startswith(S3):
        try:
            _, key = split_uri(source)
        except ConfigError as error:
            raise ConfigError(
                f"{location}: {error.message}", hint=error.hint
            ) from error
        if not key:
            raise ConfigError(
                f"{location}: {source} is a bucket, not an object in it", hint=LINE_HINT
            )
    elif is_stored:
        raise ConfigError(
            f"{location}: a manifest in S3 names documents in S3, not {source}",
            hint=LINE_HINT,
        )
    if name is not None and not is_relative(name):
        raise ConfigError(
            f"{location}: name must be a relative path, not {name!r}",
            hint="the result is put there, below the folder of results",
        )
    return ManifestEntry(source, name, check_options(entry, location))
