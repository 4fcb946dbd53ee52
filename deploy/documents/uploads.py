"""Upload of many files and request bodies to S3, several at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.concurrency import NUM_LARGE_TRANSFERS, NUM_SMALL_REQUESTS
from deploy.weights.store import Store

__all__ = ["put_bodies", "upload_files"]


def upload_files(
    store: Store,
    files: Mapping[str, tuple[Path, int, str]],
    progress: Callable[[str, int, int], None],
) -> int:
    """Upload files that the bucket lacks, several at once; return how many it lacked.

    `files` has path, size in bytes and sha256 by key. `progress` is called with key,
    uploaded bytes and size.
    """

    def send(item: tuple[str, tuple[Path, int, str]]) -> bool:
        key, (path, size, sha256) = item
        if store.holds(key, size, sha256):
            return False
        store.upload(key, path, sha256, progress)
        return True

    with ThreadPoolExecutor(NUM_LARGE_TRANSFERS) as threads:
        return sum(threads.map(send, files.items()))


def put_bodies(store: Store, bodies: Mapping[str, bytes]) -> None:
    """Upload objects of a few kilobytes, by key, several at once."""
    with ThreadPoolExecutor(NUM_SMALL_REQUESTS) as threads:
        list(threads.map(lambda item: store.put(*item), bodies.items()))
