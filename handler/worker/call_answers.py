"""Answers that one call of TorchServe's `handle` returns."""

from __future__ import annotations

from enum import Enum
from typing import Any

from handler.http.reply import Reply, strip_header_value

__all__ = ["UNANSWERED", "CallAnswers", "Part", "error_line"]

UNANSWERED = b""
"""Entry of a request without an answer in the list that `handle` returns."""
STREAM_NEXT = "ts_stream_next"
"""TorchServe's header that says whether more of a stream follows."""


class Part(Enum):
    """Part of an answer that one call of `handle` returns for a request.

    The values are the answers of TorchServe's stopping criteria. TorchServe sends
    no head for a stream whose first frame is the last, and the client would wait for
    ever; therefore a whole reply has a value of its own.
    """

    WHOLE = None
    FRAME = False
    LAST_FRAME = True


class CallAnswers:
    """Answers of one call, whose status and headers are written to its `context`.

    `num_rows` is the number of requests in the call, whose index is that of their row.
    For each of them, either `add` or `leave_open` is called.
    """

    def __init__(self, num_rows: int, context: Any) -> None:
        self._context = context
        self._bodies = [UNANSWERED] * num_rows
        self._parts: dict[int, Part] = {}
        self.num_bytes = 0
        """Size of all bodies so far."""

    def add(self, index: int, reply: Reply, part: Part, is_grpc: bool = False) -> None:
        """Answer a request with a whole reply or with a part of a stream."""
        if is_grpc and part is Part.WHOLE:
            # Without this header, TorchServe ends the worker if the client asked for a
            # stream.
            reply = reply.with_header(STREAM_NEXT, "false")
        self._bodies[index] = reply.body
        self._parts[index] = part
        self.num_bytes += len(reply.body)
        context = self._context
        context.set_response_status(reply.status, reply.phrase, index)
        context.set_response_content_type(index, strip_header_value(reply.media_type))
        for name, value in reply.headers.items():
            context.set_response_header(index, name, strip_header_value(value))

    def leave_open(self, index: int) -> None:
        """Leave a request without an answer, so that TorchServe sends it again."""
        del self._context.request_ids[index]

    def finish(self) -> list[bytes]:
        """Return a body for each row, after setting the stopping criteria.

        TorchServe calls the criteria of every row if one of the answers is a part of a
        stream; otherwise they stay unset.
        """
        if any(part is not Part.WHOLE for part in self._parts.values()):
            self._context.stopping_criteria = {
                index: (lambda _body, part=part: part.value)
                for index, part in self._parts.items()
            }
        return self._bodies


def error_line(reply: Reply) -> Reply:
    """Return a problem reply whose body is a line of NDJSON with `"event": "error"`.

    It is the last line of a stream whose status has been sent.
    """
    return reply.with_body(b'{"event": "error", ' + reply.body[1:] + b"\n")
