"""State of a document that is open and being read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from handler.preprocess import DecodeOptions
from handler.processes.pool import CallContext
from handler.schema import DocumentInfo, Options
from handler.storage.spool import Spool

__all__ = ["OpenDocument", "build_decode_options"]


def build_decode_options(options: Options) -> DecodeOptions:
    """Return the decoding options among a request's options."""
    return DecodeOptions(
        password=options.password, detect_rotation=options.rotate == "auto"
    )


@dataclass(slots=True)
class OpenDocument:
    """Open document with the options of its request and the progress of its reading."""

    request_id: str
    document_key: str
    """Digest of the content if it is known, otherwise a unique key."""
    spool: Spool
    info: DocumentInfo
    page_numbers: list[int]
    options: Options
    deadline: float | None
    """Time on the reader's clock by which the reply must be sent, or None."""
    inlined_bytes: int = 0
    """Size in bytes of the data URLs in Markdown and HTML so far."""
    label: str | None = None
    """The caller's own name for the request, echoed in the reply's attributes."""
    reply_type: str = "application/json"
    """Media type of the reply."""
    is_cancelled: Callable[[], bool] = field(default=lambda: False)

    @property
    def decode_options(self) -> DecodeOptions:
        """Decoding options of the request."""
        return build_decode_options(self.options)

    def call_context(self, page: int) -> CallContext:
        """Return the context for decoding a page, for scheduling and for the log."""
        return CallContext(self.document_key, self.request_id, page)

    def close(self) -> None:
        """Release the document's bytes."""
        self.spool.close()
