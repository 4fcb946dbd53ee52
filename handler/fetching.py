"""Brings a document that lies in S3 here, where that is allowed."""

from __future__ import annotations

from handler.addresses import Address, Buckets
from handler.errors import (
    DocumentForbiddenError,
    DocumentTooLargeError,
    UnreadableDocumentError,
)
from handler.s3 import ObjectReader, Stop
from handler.spool import Spool

__all__ = ["Fetching"]


class Fetching:
    """Spools documents out of `buckets`, none above `max_bytes`."""

    def __init__(
        self, buckets: Buckets, max_bytes: int, objects: ObjectReader | None = None
    ) -> None:
        self._buckets = buckets
        self._max_bytes = max_bytes
        self._objects = objects or ObjectReader()

    def spool(self, address: Address, should_stop: Stop) -> Spool:
        """The document in a file; it never passes through memory as a whole.

        Raises the HandlerError that says why it cannot be had.
        """
        if not self._buckets:
            raise DocumentForbiddenError(
                "no documents are read from S3 here: DOCUMENT_BUCKETS names no bucket"
            )
        if address not in self._buckets:
            raise DocumentForbiddenError(
                f"{address} is in none of the places that DOCUMENT_BUCKETS names"
            )
        head = self._objects.head(address, should_stop)
        if head.size > self._max_bytes:
            raise DocumentTooLargeError(
                f"{address} has {head.size:,} bytes; "
                f"the limit is {self._max_bytes:,} bytes"
            )
        if head.size == 0:
            raise UnreadableDocumentError(f"{address} is empty")
        spool = Spool()
        try:
            spool.reserve(head.size)
            self._objects.read(address, head, spool.descriptor, should_stop)
        except BaseException:
            spool.close()
            raise
        return spool

    def close(self) -> None:
        self._objects.close()
