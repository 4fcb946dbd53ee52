"""Weights from S3 into a folder: in parts, checked, on from where a crash ended it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from handler.addresses import Address
from handler.engine.staged import MANIFEST, Staged, StagedFile
from handler.errors import ModelLoadError
from handler.s3 import Head, ObjectReader, never

__all__ = ["fetch_into"]

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 10.0
ROOM_BYTES = 64 * 1024**2
"""Left free on the disk, for everybody else."""


def fetch_into(objects: ObjectReader, staged: Staged, folder: Path) -> None:
    """Bring what is missing; a file gets its name once it is whole and right.

    Raises ModelLoadError where the disk is too small or a file is not what the
    manifest says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        missing = [file for file in staged.files if not _is_there(folder, file)]
        _check_room(staged, missing, folder)
        progress = _Progress(staged, sum(file.size for file in missing))
        checks: list[Future[None]] = []
        with ThreadPoolExecutor(2, "sha256") as checkers:
            for file in missing:
                for check in checks:
                    if check.done():
                        check.result()
                partial = _fetched(objects, staged, file, folder, progress)
                # While the next one comes.
                checks.append(
                    checkers.submit(
                        _finish, objects, staged, file, folder, partial, progress
                    )
                )
        for check in checks:
            check.result()
        if missing:
            progress.say("fetched")


class _Progress:
    """How far it has got, in the log now and then."""

    def __init__(self, staged: Staged, num_bytes: int) -> None:
        self._prefix = str(staged.prefix)
        self._total = num_bytes
        self._done = self._resumed = 0
        self._lock = threading.Lock()
        self._started = self._said = time.monotonic()

    def add(self, num_bytes: int, *, is_resumed: bool = False) -> None:
        with self._lock:
            self._done += num_bytes
            self._resumed += num_bytes if is_resumed else 0
            is_due = time.monotonic() - self._said >= PROGRESS_SECONDS
        if is_due:
            self.say("fetching")

    def say(self, stage: str) -> None:
        self._said = time.monotonic()
        seconds = self._said - self._started
        logger.info(
            "weights",
            extra={
                "stage": stage,
                "prefix": self._prefix,
                "bytes": self._done,
                "total_bytes": self._total,
                "resumed_bytes": self._resumed,
                "seconds": round(seconds, 3),
                "bytes_per_second": round(
                    (self._done - self._resumed) / max(seconds, 1e-3)
                ),
            },
        )


class _Parts:
    """Which parts of a file are there: a byte for each, beside it."""

    def __init__(self, path: Path, num_parts: int) -> None:
        self._path = path
        try:
            known = path.read_bytes()
        except FileNotFoundError:
            known = b""
        if len(known) != num_parts:
            known = bytes(num_parts)
            path.write_bytes(known)
        self.missing = [number for number, flag in enumerate(known) if not flag]
        self.num_known = num_parts - len(self.missing)

    def add(self, number: int) -> None:
        with self._path.open("r+b", buffering=0) as file:
            file.seek(number)
            file.write(b"\1")


def _fetched(
    objects: ObjectReader,
    staged: Staged,
    file: StagedFile,
    folder: Path,
    progress: _Progress,
) -> Path:
    """All of a file's bytes, under a name of their own; those here are kept."""
    partial = folder / f".{file.name}.partial"
    head = Head(file.size, file.etag)
    if not partial.is_file() or partial.stat().st_size != file.size:
        # What is known of parts is of another file.
        _parts_of(partial).unlink(missing_ok=True)
    parts = _Parts(_parts_of(partial), len(objects.parts(head)))
    progress.add(min(parts.num_known * objects.part_bytes, file.size), is_resumed=True)
    with partial.open("ab") as target:
        target.truncate(file.size)
    descriptor = os.open(partial, os.O_WRONLY)

    def has_part(number: int) -> None:
        parts.add(number)
        start = number * objects.part_bytes
        progress.add(min(objects.part_bytes, file.size - start))

    try:
        objects.read(
            _address(staged, file),
            head,
            descriptor,
            never,
            parts=parts.missing,
            has_part=has_part,
        )
    finally:
        os.close(descriptor)
    return partial


def _finish(
    objects: ObjectReader,
    staged: Staged,
    file: StagedFile,
    folder: Path,
    partial: Path,
    progress: _Progress,
) -> None:
    """Check it and give it its name.

    Once more from the start where it is wrong: the machine may have crashed before
    its disk had what we thought it had.
    """
    if not _is_right(file, partial):
        logger.warning("weights wrong, fetched again", extra={"file": file.name})
        partial.unlink()
        _fetched(objects, staged, file, folder, progress)
        if not _is_right(file, partial):
            partial.unlink()
            raise ModelLoadError(
                f"{_address(staged, file)} is not what {MANIFEST} says: its sha256 is "
                f"another than {file.sha256}; stage the weights again"
            )
    _parts_of(partial).unlink(missing_ok=True)
    partial.rename(folder / file.name)


def _is_right(file: StagedFile, path: Path) -> bool:
    if file.sha256 is None:
        return path.stat().st_size == file.size
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def _is_there(folder: Path, file: StagedFile) -> bool:
    path = folder / file.name
    return path.is_file() and path.stat().st_size == file.size


def _check_room(staged: Staged, missing: list[StagedFile], folder: Path) -> None:
    needed = sum(file.size for file in missing)
    here = sum(
        path.stat().st_blocks * 512
        for file in missing
        if (path := folder / f".{file.name}.partial").is_file()
    )
    free = shutil.disk_usage(folder).free
    if needed and needed - here + ROOM_BYTES > free:
        raise ModelLoadError(
            f"{staged.prefix} needs {needed - here:,} bytes in {folder.parent}, where "
            f"{free:,} are free: a larger disk, or CHANDRA_CACHE_DIR on another one"
        )


def _address(staged: Staged, file: StagedFile) -> Address:
    return Address(staged.prefix.bucket, staged.prefix.key + file.name)


def _parts_of(partial: Path) -> Path:
    return partial.with_suffix(".parts")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else fetches into this folder meanwhile, or they wait for us."""
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
