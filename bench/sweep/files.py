"""The files of a folder, and the content types that their names suggest."""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from pathlib import Path

__all__ = ["content_type_of", "find_files", "spread"]


def find_files(folder: Path) -> list[Path]:
    """Return every file below a folder, sorted; hidden files and folders are left out.

    Raises NotADirectoryError if `folder` is none.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def spread(files: Sequence[Path], limit: int | None) -> list[Path]:
    """Return at most `limit` files, at equal distances in the list; None: all."""
    if limit is None or limit >= len(files):
        return list(files)
    return [files[number * len(files) // limit] for number in range(limit)]


def content_type_of(path: Path) -> str | None:
    """Return the content type that a name's extension stands for, if any."""
    return mimetypes.guess_type(path.name)[0]
