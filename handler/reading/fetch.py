"""Download of documents from the allowed buckets in S3."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from urllib.parse import unquote_plus

from handler.errors import (
    DocumentForbiddenError,
    DocumentNotFoundError,
    DocumentTooLargeError,
    RequestError,
    StorageError,
    UnreadableDocumentError,
)
from handler.storage.addresses import Address, Buckets, is_key
from handler.storage.compression import GZIP_MAGIC, gunzip, is_gzip, is_gzip_encoding
from handler.storage.s3 import Head, ObjectReader, Stop
from handler.storage.spool import Spool

__all__ = ["Fetcher"]

_MEANINGLESS_CODINGS = ("aws-chunked",)
"""Codings to ignore: some clients store them in an object's metadata by mistake."""
_PIECE_BYTES = 1024 * 1024


class Fetcher:
    """Downloads documents from `buckets`, each of at most `max_bytes`.

    `create_spool` creates the empty file of a document.
    """

    def __init__(
        self,
        buckets: Buckets,
        max_bytes: int,
        objects: ObjectReader | None = None,
        create_spool: Callable[[], Spool] = Spool,
    ) -> None:
        self._buckets = buckets
        self._max_bytes = max_bytes
        self._objects = objects or ObjectReader()
        self._create_spool = create_spool

    def fetch(self, address: Address, should_stop: Stop) -> Spool:
        """Download the document to a file in pieces, so that memory use stays small.

        A gzip file is decompressed. The caller closes the returned file. Raises a
        HandlerError if the document is not allowed, missing, too large, empty or cannot
        be read, and the error that `should_stop` returns.
        """
        if not self._buckets:
            raise DocumentForbiddenError(
                "documents are not read from S3: DOCUMENT_BUCKETS names no bucket"
            )
        if address not in self._buckets:
            raise DocumentForbiddenError(
                f"{address} is not in a bucket or prefix of DOCUMENT_BUCKETS"
            )
        head = self._head(address, should_stop)
        is_gzip_encoding(head.content_encoding, ignored=_MEANINGLESS_CODINGS)
        if head.size > self._max_bytes:
            raise DocumentTooLargeError(
                f"{address} has {head.size:,} bytes; "
                f"the limit is {self._max_bytes:,} bytes"
            )
        if head.size == 0:
            raise UnreadableDocumentError(f"{address} is empty")
        spool = self._create_spool()
        try:
            spool.reserve(head.size)
            self._objects.download(address, head, spool.descriptor, should_stop)
            if not is_gzip(os.pread(spool.descriptor, len(GZIP_MAGIC), 0)):
                return spool
            decompressed = self._decompress(spool, str(address), should_stop)
        except BaseException:
            spool.close()
            raise
        spool.close()
        return decompressed

    def close(self) -> None:
        """Wait for running requests to S3, and close the connections."""
        self._objects.close()

    def _head(self, address: Address, should_stop: Stop) -> Head:
        """Return an object's head; raise HandlerError if it cannot be read.

        If the object is missing, the error says whether the URL-decoded key exists,
        because S3 events contain URL-encoded keys.
        """
        try:
            return self._objects.read_head(address, should_stop)
        except (DocumentNotFoundError, DocumentForbiddenError) as error:
            decoded = Address(address.bucket, unquote_plus(address.key))
            if decoded == address:
                raise
            if self._exists(decoded, should_stop):
                raise DocumentNotFoundError(
                    f"there is no {address}, but there is {decoded}: the key is "
                    "URL-encoded, as in S3's events; decode it, in Python with "
                    "urllib.parse.unquote_plus"
                ) from error
            if isinstance(error, DocumentForbiddenError):
                raise
            raise DocumentNotFoundError(
                f"{error.detail}. Its key looks URL-encoded, as S3's events write "
                "keys: decode it if it comes from one"
            ) from error

    def _exists(self, address: Address, should_stop: Stop) -> bool:
        """Return whether an object is allowed and can be read."""
        if address not in self._buckets or not is_key(address.key):
            return False
        try:
            self._objects.read_head(address, should_stop)
        except (RequestError, StorageError):
            return False
        return True

    def _decompress(self, spool: Spool, subject: str, should_stop: Stop) -> Spool:
        """Decompress gzip data into another file, which is returned open."""
        content = self._create_spool()
        try:
            for piece in gunzip(_read_pieces(spool), subject, self._max_bytes):
                content.write(piece)
                if reason := should_stop():
                    raise reason
        except BaseException:
            content.close()
            raise
        return content


def _read_pieces(spool: Spool) -> Iterator[bytes]:
    for start in range(0, spool.size, _PIECE_BYTES):
        yield os.pread(spool.descriptor, _PIECE_BYTES, start)
