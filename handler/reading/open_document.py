"""The state of a document that has been opened and is being read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from handler.preprocess import DecodeOptions
from handler.processes.pool import CallContext
from handler.schema import DocumentInfo, Options
from handler.storage.spool import Spool

__all__ = ["OpenDocument", "build_decode_options"]


def build_decode_options(options: Options) -> DecodeOptions:
    """Return what a request's options ask of the decoders."""
    return DecodeOptions(
        password=options.password, detect_rotation=options.rotate == "auto"
    )


@dataclass(slots=True)
class OpenDocument:
    """An open document, with what its request asks for and the state of its reading."""

    request_id: str
    document_key: str
    """Equal for equal content where a digest is known, otherwise unique."""
    spool: Spool
    info: DocumentInfo
    page_numbers: list[int]
    options: Options
    deadline: float | None
    """Time on the reader's clock by which the reply must leave, or None."""
    inlined_bytes: int = 0
    """Size of the pictures that are in Markdown and HTML so far, as data URLs."""
    label: str | None = None
    """The caller's own name for the request, echoed in the reply's attributes."""
    reply_type: str = "application/json"
    """Media type of the reply."""
    is_cancelled: Callable[[], bool] = field(default=lambda: False)

    @property
    def decode_options(self) -> DecodeOptions:
        """Return what the request asks of the decoders."""
        return build_decode_options(self.options)

    def call_context(self, page: int) -> CallContext:
        """Return the context of a decoder's call for a page."""
        return CallContext(self.document_key, self.request_id, page)

    def close(self) -> None:
        """Release the document's bytes."""
        self.spool.close()
