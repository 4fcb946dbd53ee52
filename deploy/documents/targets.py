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
    """Return the value of `--into` as an absolute folder or s3://bucket/prefix.

    Raises ConfigError if it is empty or has no bucket.
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

    Windows reserves some names, and drops dots and blanks at the end of a folder's
    name. Such names are changed on every system, because results may be moved.
    Characters that Windows forbids are replaced only with `is_windows`.
    """
    *folders, last = [part for part in name.split("/") if part not in ("", ".")] or [""]
    parts = [_to_portable_folder(part) for part in folders] + [
        ".._" if last == ".." else last
    ]
    path = "/".join(map(_avoid_device_name, parts)) or "_"
    return FORBIDDEN.sub("_", path) if is_windows else path


def assign_targets(
    names: Mapping[str, str], kept: Collection[str] = (), *, is_tree: bool = True
) -> dict[str, str]:
    """Return a distinct name for the results of each document, by the document's id.

    `names` has the proposed names by id. If one is taken, the beginning of the id is
    inserted before its suffix, such as a~3f9a01bc.pdf. Documents whose ids are in
    `kept` choose first, because their results have that name already. With `is_tree`,
    no two results are the same file, and none is the folder of another, even on systems
    that ignore case or normalise Unicode. Without `is_tree`, no two results have
    exactly the same path. The outcome does not depend on the order of `names`.
    """
    targets: dict[str, str] = {}
    files: set[str] = set()
    folders: set[str] = set()
    for identity in sorted(names, key=lambda i: (i not in kept, names[i], i)):
        for name in _candidates(names[identity], identity, is_tree):
            collision_key = _collision_key(name) if is_tree else name
            own_files = {f"{collision_key}.{ending}" for ending in ENDINGS}
            own_folders = _parents(collision_key) if is_tree else set()
            if own_files & files or own_files & folders or own_folders & files:
                continue
            files |= own_files
            folders |= own_folders
            targets[identity] = name
            break
    return targets


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


def _parents(name: str) -> set[str]:
    parts = name.split("/")[:-1]
    return {"/".join(parts[: number + 1]) for number in range(len(parts))}


def _to_portable_folder(part: str) -> str:
    """Return the name of a folder, with `_` appended if it ends in a dot or a blank."""
    return f"{part}_" if part.endswith((".", " ")) else part


def _avoid_device_name(part: str) -> str:
    stem, dot, rest = part.partition(".")
    if stem.rstrip().lower() in RESERVED:
        return f"{stem}_{dot}{rest}"
    return part
