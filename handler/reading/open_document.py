"""A document that has been opened and is being read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from handler.preprocess import DecodeOptions
from handler.processes.pool import CallContext
from handler.schema import DocumentInfo, Options
from handler.storage.spool import Spool

__all__ = ["Reading", "decode_options_of"]


def decode_options_of(options: Options) -> DecodeOptions:
    """Return what a request's options ask of the decoders."""
    return DecodeOptions(
        password=options.password, detect_rotation=options.rotate == "auto"
    )


@dataclass(slots=True)
class Reading:
    """What is known of a document while its pages come and go."""

    request_id: str
    document_key: str
    """Equal for equal content where a digest is known, otherwise unique."""
    document: Spool
    info: DocumentInfo
    page_numbers: list[int]
    options: Options
    deadline: float | None
    """On the reader's clock; None: whenever it is done."""
    inlined_bytes: int = 0
    """Size of the pictures that are in Markdown and HTML so far, as data URLs."""
    is_cancelled: Callable[[], bool] = field(default=lambda: False)

    @property
    def decode_options(self) -> DecodeOptions:
        """Return what the request asks of the decoders."""
        return decode_options_of(self.options)

    def call_context(self, page: int) -> CallContext:
        """Return the context of a decoder's call for a page."""
        return CallContext(self.document_key, self.request_id, page)

    def close(self) -> None:
        """Let go of the document's bytes."""
        self.document.close()
