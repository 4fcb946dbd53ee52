"""An answer in pieces, as InvokeEndpointWithResponseStream sends it."""

from __future__ import annotations

from collections.abc import Iterable

from deploy.emulator.http.wire import build_error_frame, build_payload_frame


def stream_of(chunks: Iterable[bytes]) -> bytes:
    """One event a chunk."""
    return b"".join(map(build_payload_frame, chunks))


def broken_stream(chunks: Iterable[bytes], message: str) -> bytes:
    """Events, and then the container dies."""
    code = "ModelInvocationTimeExceeded"
    return stream_of(chunks) + build_error_frame(
        "ModelStreamError", message, ErrorCode=code
    )
