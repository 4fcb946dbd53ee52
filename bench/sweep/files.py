"""Files of a folder with the content types of their extensions."""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from pathlib import Path

__all__ = ["choose_evenly", "content_type_of", "find_files"]


def find_files(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted, without hidden files and folders.

    Raise NotADirectoryError if `folder` is not a folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def choose_evenly(files: Sequence[Path], limit: int | None) -> list[Path]:
    """Return at most `limit` files at equal distances in the list; None means all."""
    if limit is None or limit >= len(files):
        return list(files)
    return [files[number * len(files) // limit] for number in range(limit)]


def content_type_of(path: Path) -> str | None:
    """Return the content type of a file's extension; None if it is unknown."""
    return mimetypes.guess_type(path.name)[0]
