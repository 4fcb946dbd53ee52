"""Names of results that every file system accepts and keeps distinct."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from itertools import count
from pathlib import Path

from deploy.documents.document import S3, split_uri
from deploy.documents.naming import add_identifier
from deploy.errors import ConfigError

__all__ = ["ENDINGS", "assign_targets", "parse_destination", "to_portable_name"]

ENDINGS = ("md", "html", "json", "txt", "error.json")
"""Suffixes that results add to the name of their document."""
RESERVED = frozenset(
    {"con", "prn", "aux", "nul"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in "0123456789¹²³"}
)
"""Names of devices on Windows, with any suffix."""
FORBIDDEN = re.compile(r'[<>:"|?*\\]')


def parse_destination(into: str) -> str:
    """Return the folder or the s3://bucket/prefix that `--into` names.

    Raises ConfigError if it names none.
    """
    if into.startswith(S3):
        split_uri(into)
        return into
    if not into:
        raise ConfigError(
            "--into is empty", hint="--into FOLDER, or --into s3://bucket/prefix"
        )
    return str(Path(into).absolute())


def to_portable_name(name: str, *, is_windows: bool = os.name == "nt") -> str:
    """Return the name of a document as a relative path that lies below its folder.

    Windows reserves some names and drops dots and blanks at the end of a folder's.
    They are changed everywhere, as results may move; the characters that only Windows
    forbids are changed there.
    """
    *folders, last = [part for part in name.split("/") if part not in ("", ".")] or [""]
    parts = [_folder(part) for part in folders] + [".._" if last == ".." else last]
    path = "/".join(map(_without_device, parts)) or "_"
    return FORBIDDEN.sub("_", path) if is_windows else path


def assign_targets(
    names: Mapping[str, str], kept: Collection[str] = (), *, is_tree: bool = True
) -> dict[str, str]:
    """Return a name for the results of each document, by the document's id.

    `names` has the names by id, `kept` the ids whose results have that name already.
    With `is_tree`, no two results are the same file, and none is the folder of another,
    on systems that ignore case or normalise Unicode. Without, names are taken as they
    are: results that lie beside their documents. The outcome does not depend on the
    order of `names`.
    """
    given: dict[str, str] = {}
    files: set[str] = set()
    folders: set[str] = set()
    for identity in sorted(names, key=lambda i: (i not in kept, names[i], i)):
        for name in _candidates(names[identity], identity, is_tree):
            slot = _collision_key(name) if is_tree else name
            own = {f"{slot}.{ending}" for ending in ENDINGS}
            above = _parents(slot) if is_tree else set()
            if own & files or own & folders or above & files:
                continue
            files |= own
            folders |= above
            given[identity] = name
            break
    return given


def _candidates(name: str, identity: str, is_tree: bool) -> Iterator[str]:
    yield name
    for length in (8, 16, len(identity)):
        yield add_identifier(name, identity, length)
    for number in count(1):
        longer = f"{identity}-{number}"
        # A parent folder may have the name of another result: then change the folder.
        yield (
            f"~{longer}/{name}"
            if is_tree
            else add_identifier(name, longer, len(longer))
        )


def _collision_key(name: str) -> str:
    """Return a key that is equal for names that a file system may consider equal."""
    folded = unicodedata.normalize("NFD", name).upper().casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", folded))


def _parents(slot: str) -> set[str]:
    parts = slot.split("/")[:-1]
    return {"/".join(parts[: number + 1]) for number in range(len(parts))}


def _folder(part: str) -> str:
    """Return the name of a folder, which may not end in a dot or a blank."""
    return f"{part}_" if part.endswith((".", " ")) else part


def _without_device(part: str) -> str:
    stem, dot, rest = part.partition(".")
    if stem.rstrip().lower() in RESERVED:
        return f"{stem}_{dot}{rest}"
    return part
