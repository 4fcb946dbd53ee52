"""Download of weights from S3 into a folder.

Files are downloaded in parts, checked against the manifest, and resumed after a crash.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from handler.errors import ModelLoadError
from handler.storage.addresses import Address
from handler.storage.s3 import Head, ObjectReader, never_stop
from handler.weights.checkpoint import read_header
from handler.weights.manifest import (
    MANIFEST,
    StagedFile,
    StagedWeights,
    format_manifest,
)
from handler.weights.streamed_hash import StreamedHash

__all__ = ["download_weights"]

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 10.0
NUM_HASHERS = 4
"""Files hashed at once: one thread hashes slower than a fast network delivers."""
SPARE_BYTES = 64 * 1024**2
"""Disk space that a download leaves free for other programs."""


def _read_free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def download_weights(
    objects: ObjectReader,
    staged: StagedWeights,
    folder: Path,
    *,
    progress_seconds: float = PROGRESS_SECONDS,
    read_free_bytes: Callable[[Path], int] = _read_free_bytes,
) -> None:
    """Download the files of `staged` that `folder` does not hold yet.

    A file gets its final name once it is complete and its hash matches. Each file is
    hashed while it arrives. The manifest is written beside the files at the end, so
    that they can be checked again without S3. Progress is logged every
    `progress_seconds`. `read_free_bytes` returns the free disk space at a path. Raises
    ModelLoadError if the disk is too small or a file does not match the manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _lock_folder(folder):
        missing = [file for file in staged.files if not _is_complete(folder, file)]
        _check_disk_space(staged, missing, folder, read_free_bytes(folder))
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
                # The rest of the hash is computed while the next file is downloaded.
                checks.append(finishers.submit(download.finish, file, partial, digest))
        for check in checks:
            check.result()
        _write_manifest(staged, folder)
        if missing:
            progress.log("fetched")


class _Progress:
    """Progress of a download, which is logged at intervals. Thread-safe."""

    def __init__(
        self, staged: StagedWeights, num_bytes: int, interval_seconds: float
    ) -> None:
        self._interval_seconds = interval_seconds
        self._prefix = str(staged.prefix)
        self._total = num_bytes
        self._done = self._resumed = self._hashed = 0
        self._lock = threading.Lock()
        self._started = self._logged_at = time.monotonic()

    def add(self, num_bytes: int, *, is_resumed: bool = False) -> None:
        with self._lock:
            self._done += num_bytes
            self._resumed += num_bytes if is_resumed else 0
            self._log_if_due()

    def add_hashed(self, num_bytes: int) -> None:
        with self._lock:
            self._hashed += num_bytes
            self._log_if_due()

    def log(self, stage: str) -> None:
        with self._lock:
            self._log(stage)

    def _log_if_due(self) -> None:
        if time.monotonic() - self._logged_at >= self._interval_seconds:
            self._log("fetching")

    def _log(self, stage: str) -> None:
        self._logged_at = time.monotonic()
        seconds = self._logged_at - self._started
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


class _PartsRecord:
    """Record of the finished parts of a file: one byte per part, in a file beside it.

    A byte is 1 once its part has been written.
    """

    def __init__(self, path: Path, num_parts: int) -> None:
        self._path = path
        try:
            flags = path.read_bytes()
        except FileNotFoundError:
            flags = b""
        if len(flags) != num_parts:
            flags = bytes(num_parts)
            path.write_bytes(flags)
        self.missing = [number for number, flag in enumerate(flags) if not flag]
        self.num_finished = num_parts - len(self.missing)

    def add(self, number: int) -> None:
        """Record in the file that a part has been written."""
        with self._path.open("r+b", buffering=0) as file:
            file.seek(number)
            file.write(b"\1")


class _Download:
    """Download of files from one prefix into one folder."""

    def __init__(
        self,
        objects: ObjectReader,
        staged: StagedWeights,
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

        Returns the partial file's path and a future of its SHA-256. The future is None
        if the expected hash is unknown. Raises HandlerError if a part cannot be
        downloaded.
        """
        partial = self._folder / f".{file.name}.partial"
        head = Head(file.size, file.etag)
        if not partial.is_file() or partial.stat().st_size != file.size:
            # The record of finished parts belongs to another file.
            _parts_path(partial).unlink(missing_ok=True)
        part_bytes = self._objects.part_bytes
        parts = _PartsRecord(
            _parts_path(partial), len(self._objects.part_numbers(head))
        )
        self._progress.add(
            min(parts.num_finished * part_bytes, file.size), is_resumed=True
        )
        with partial.open("ab") as target:
            target.truncate(file.size)
        hashing = StreamedHash(
            partial, file.size, part_bytes, parts.missing, self._progress.add_hashed
        )
        digest = None
        descriptor = os.open(partial, os.O_WRONLY)

        def on_part(number: int) -> None:
            parts.add(number)
            hashing.add(number)
            self._progress.add(min(part_bytes, file.size - number * part_bytes))

        try:
            if file.sha256 is not None:
                digest = self._hashers.submit(hashing.run)
            self._objects.download(
                _address(self._staged, file),
                head,
                descriptor,
                never_stop,
                parts=parts.missing,
                on_part=on_part,
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
        """Wait for the hash, compare it with the manifest and rename the partial file.

        A wrong file is fetched once more from the start, because the machine may have
        crashed before all recorded parts were on disk. Raises ModelLoadError if it is
        wrong again.
        """
        if digest is not None and digest.result() != file.sha256:
            logger.warning("weights wrong, fetched again", extra={"file": file.name})
            partial.unlink()
            partial, digest = self.fetch(file)
            if digest is not None and digest.result() != file.sha256:
                partial.unlink()
                raise ModelLoadError(
                    f"{_address(self._staged, file)} does not match {MANIFEST}: its "
                    f"sha256 is not {file.sha256}; stage the weights again"
                )
        _parts_path(partial).unlink(missing_ok=True)
        partial.rename(self._folder / file.name)


def _is_complete(folder: Path, file: StagedFile) -> bool:
    """Return whether a file is complete, by its size and its safetensors header.

    A file with an invalid header is complete if its hash is the expected one or if no
    hash is known.
    """
    path = folder / file.name
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if path.suffix != ".safetensors":
        return True
    try:
        read_header(path)
    except ModelLoadError as error:
        # Compare hashes: a file that was staged with an invalid header would otherwise
        # be downloaded at every start.
        with path.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        if file.sha256 not in (None, sha256):
            logger.warning("weights damaged", extra={"reason": error.detail})
            return False
    return True


def _write_manifest(staged: StagedWeights, folder: Path) -> None:
    """Write the manifest beside the files in `folder` if all hashes are known."""
    if any(file.sha256 is None for file in staged.files):
        return
    text = format_manifest(staged.model, staged.revision, staged.files)
    partial = folder / f".{MANIFEST}"
    partial.write_text(text, "utf-8")
    partial.rename(folder / MANIFEST)


def _check_disk_space(
    staged: StagedWeights, missing: list[StagedFile], folder: Path, free_bytes: int
) -> None:
    """Raise ModelLoadError if the missing files need more than `free_bytes`."""
    needed_bytes = sum(file.size for file in missing)
    partial_bytes = sum(
        path.stat().st_blocks * 512
        for file in missing
        if (path := folder / f".{file.name}.partial").is_file()
    )
    if needed_bytes and needed_bytes - partial_bytes + SPARE_BYTES > free_bytes:
        raise ModelLoadError(
            f"{staged.prefix} needs {needed_bytes - partial_bytes:,} bytes in "
            f"{folder.parent}, where {free_bytes:,} are free: use a larger disk, or "
            "set CHANDRA_CACHE_DIR to a folder on another one"
        )


def _address(staged: StagedWeights, file: StagedFile) -> Address:
    return Address(staged.prefix.bucket, staged.prefix.key + file.name)


def _parts_path(partial: Path) -> Path:
    return partial.with_suffix(".parts")


@contextlib.contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on a folder, after waiting for its current owner.

    A worker that TorchServe has replaced may still be downloading into the folder.
    """
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
