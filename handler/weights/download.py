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

from handler.errors import ModelLoadError
from handler.storage.addresses import Address
from handler.storage.s3 import Head, ObjectReader, never_stop
from handler.weights.checkpoint import read_header
from handler.weights.staged import MANIFEST, Staged, StagedFile, manifest_text
from handler.weights.streamed_hash import StreamedHash

__all__ = ["fetch_into"]

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 10.0
NUM_HASHERS = 4
"""Files hashed at once: one thread hashes slower than a fast network delivers."""
ROOM_BYTES = 64 * 1024**2
"""Left free on the disk, for everybody else."""


def fetch_into(
    objects: ObjectReader,
    staged: Staged,
    folder: Path,
    *,
    progress_seconds: float = PROGRESS_SECONDS,
) -> None:
    """Bring what is missing; a file gets its name once it is whole and right.

    Each file is hashed while it arrives. The manifest is written beside the files at
    the end, so that they can be checked again without S3. Raises ModelLoadError where
    the disk is too small or a file is not what the manifest says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        missing = [file for file in staged.files if not _is_there(folder, file)]
        _check_room(staged, missing, folder)
        num_bytes = sum(file.size for file in missing)
        progress = _Progress(staged, num_bytes, progress_seconds)
        checks: list[Future[None]] = []
        with (
            ThreadPoolExecutor(NUM_HASHERS, "sha256") as hashers,
            ThreadPoolExecutor(2, "finish") as finishers,
        ):
            download = _Download(objects, staged, folder, progress, hashers)
            for file in missing:
                for check in checks:
                    if check.done():
                        check.result()
                partial, digest = download.fetch(file)
                # The rest of the hash is computed while the next file comes.
                checks.append(finishers.submit(download.finish, file, partial, digest))
        for check in checks:
            check.result()
        _write_manifest(staged, folder)
        if missing:
            progress.say("fetched")


class _Progress:
    """How far it has got, in the log now and then."""

    def __init__(self, staged: Staged, num_bytes: int, interval_seconds: float) -> None:
        self._interval_seconds = interval_seconds
        self._prefix = str(staged.prefix)
        self._total = num_bytes
        self._done = self._resumed = self._hashed = 0
        self._lock = threading.Lock()
        self._started = self._said = time.monotonic()

    def add(self, num_bytes: int, *, is_resumed: bool = False) -> None:
        with self._lock:
            self._done += num_bytes
            self._resumed += num_bytes if is_resumed else 0
            self._say_if_due()

    def add_hashed(self, num_bytes: int) -> None:
        with self._lock:
            self._hashed += num_bytes
            self._say_if_due()

    def say(self, stage: str) -> None:
        with self._lock:
            self._say(stage)

    def _say_if_due(self) -> None:
        if time.monotonic() - self._said >= self._interval_seconds:
            self._say("fetching")

    def _say(self, stage: str) -> None:
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
                "hashed_bytes": self._hashed,
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


class _Download:
    """Files of one prefix into one folder."""

    def __init__(
        self,
        objects: ObjectReader,
        staged: Staged,
        folder: Path,
        progress: _Progress,
        hashers: ThreadPoolExecutor,
    ) -> None:
        self._objects = objects
        self._staged = staged
        self._folder = folder
        self._progress = progress
        self._hashers = hashers

    def fetch(self, file: StagedFile) -> tuple[Path, Future[str | None] | None]:
        """Download the parts of a file that are missing into its partial file.

        Returns the partial file's path and a future of its SHA-256, or None where the
        manifest has no hash.
        """
        partial = self._folder / f".{file.name}.partial"
        head = Head(file.size, file.etag)
        if not partial.is_file() or partial.stat().st_size != file.size:
            # The record of finished parts belongs to another file.
            _parts_of(partial).unlink(missing_ok=True)
        part_bytes = self._objects.part_bytes
        parts = _Parts(_parts_of(partial), len(self._objects.parts(head)))
        self._progress.add(
            min(parts.num_known * part_bytes, file.size), is_resumed=True
        )
        with partial.open("ab") as target:
            target.truncate(file.size)
        hashing = StreamedHash(
            partial, file.size, part_bytes, parts.missing, self._progress.add_hashed
        )
        digest = None
        descriptor = os.open(partial, os.O_WRONLY)

        def has_part(number: int) -> None:
            parts.add(number)
            hashing.add(number)
            self._progress.add(min(part_bytes, file.size - number * part_bytes))

        try:
            if file.sha256 is not None:
                digest = self._hashers.submit(hashing.run)
            self._objects.read(
                _address(self._staged, file),
                head,
                descriptor,
                never_stop,
                parts=parts.missing,
                has_part=has_part,
            )
        except BaseException:
            hashing.abandon()
            raise
        finally:
            os.close(descriptor)
        return partial, digest

    def finish(
        self, file: StagedFile, partial: Path, digest: Future[str | None] | None
    ) -> None:
        """Compare the hash with the manifest and rename the partial file.

        A wrong file is fetched once more from the start, because the machine may have
        crashed before all recorded parts were on disk.
        """
        if digest is not None and digest.result() != file.sha256:
            logger.warning("weights wrong, fetched again", extra={"file": file.name})
            partial.unlink()
            partial, digest = self.fetch(file)
            if digest is not None and digest.result() != file.sha256:
                partial.unlink()
                raise ModelLoadError(
                    f"{_address(self._staged, file)} is not what {MANIFEST} says: its "
                    f"sha256 is not {file.sha256}; stage the weights again"
                )
        _parts_of(partial).unlink(missing_ok=True)
        partial.rename(self._folder / file.name)


def _is_there(folder: Path, file: StagedFile) -> bool:
    """Return whether a file has the right size and header, or else the right hash."""
    path = folder / file.name
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if path.suffix != ".safetensors":
        return True
    try:
        read_header(path)
    except ModelLoadError as error:
        # A file that was staged with a bad header would be fetched at every start.
        with path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if file.sha256 not in (None, found):
            logger.warning("weights damaged", extra={"reason": error.detail})
            return False
    return True


def _write_manifest(staged: Staged, folder: Path) -> None:
    """Write the manifest beside the files in `folder` if all hashes are known."""
    if any(file.sha256 is None for file in staged.files):
        return
    text = manifest_text(staged.model, staged.revision, staged.files)
    partial = folder / f".{MANIFEST}"
    partial.write_text(text, "utf-8")
    partial.rename(folder / MANIFEST)


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
