"""Addresses of objects in S3, and the list of buckets that may be read."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from handler.errors import ModelLoadError, RequestError

__all__ = ["Address", "Buckets", "is_key", "parse_address"]

SCHEME = "s3://"
MAX_KEY_BYTES = 1024
_MAX_URI_CHARACTERS = len(SCHEME) + 63 + len("/") + MAX_KEY_BYTES
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Address:
    """Bucket and key of an object in S3."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"


def parse_address(uri: str) -> Address:
    """Parse `s3://bucket/key`; raise RequestError for any other text.

    The key is taken literally, because S3 knows neither escapes nor queries in keys.
    """
    if len(uri) > _MAX_URI_CHARACTERS:
        raise RequestError(
            f"an object in S3 is named s3://bucket/key, with a key of at most "
            f"{MAX_KEY_BYTES:,} bytes"
        )
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    if not (uri.startswith(SCHEME) and _is_bucket(bucket) and is_key(key)):
        shown = json.dumps(uri if len(uri) <= 100 else uri[:100] + "…")
        raise RequestError(f"an object in S3 is named s3://bucket/key, not {shown}")
    return Address(bucket, key)


class Buckets:
    """Set of buckets and prefixes from which documents may be read.

    Buckets("scans, archive/2026")   all of scans, and 2026/ in archive
    Buckets(None)                    no bucket

    Raises ModelLoadError for an invalid entry.
    """

    def __init__(self, text: str | None) -> None:
        entries = [entry.strip() for entry in (text or "").split(",")]
        self._places = tuple(_parse_place(entry) for entry in entries if entry)

    def __bool__(self) -> bool:
        return bool(self._places)

    def __contains__(self, address: Address) -> bool:
        # S3 takes dots literally, but proxies and clients may resolve "." and "..",
        # which would lead out of the prefix or the bucket.
        if not {".", ".."}.isdisjoint(address.key.split("/")):
            return False
        return any(
            address.bucket == bucket and address.key.startswith(prefix)
            for bucket, prefix in self._places
        )


def _parse_place(entry: str) -> tuple[str, str]:
    """Return bucket and prefix of an entry; raise ModelLoadError if it is invalid."""
    bucket, _, prefix = entry.removeprefix(SCHEME).partition("/")
    prefix = prefix.strip("/")
    is_plain = {".", "..", ""}.isdisjoint(prefix.split("/")) or not prefix
    if not (_is_bucket(bucket) and is_plain):
        raise ModelLoadError(
            "document_buckets must be bucket or bucket/prefix, separated by commas; "
            f"{entry!r} is neither"
        )
    return bucket, f"{prefix}/" if prefix else ""


def _is_bucket(name: str) -> bool:
    return _BUCKET.fullmatch(name) is not None and ".." not in name


def is_key(key: str) -> bool:
    """Return whether S3 allows the key and it is safe to log."""
    try:
        num_bytes = len(key.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return 0 < num_bytes <= MAX_KEY_BYTES and _CONTROL.search(key) is None
