"""Event streams, as InvokeEndpointWithResponseStream sends them."""

from __future__ import annotations

from collections.abc import Iterable

from deploy.emulator.http.wire import build_error_frame, build_payload_frame


def stream_of(chunks: Iterable[bytes]) -> bytes:
    """Return an event stream with one event for each chunk."""
    return b"".join(map(build_payload_frame, chunks))


def broken_stream(chunks: Iterable[bytes], message: str) -> bytes:
    """Return a stream that ends with an error after its events."""
    code = "ModelInvocationTimeExceeded"
    return stream_of(chunks) + build_error_frame(
        "ModelStreamError", message, ErrorCode=code
    )
