"""Handler without a model, for tests of the frontend.

A request's body is JSON with the length of its answer as `bytes` and its delay as
`seconds`. The handler runs in TorchServe's worker with the real pump and beacon, and
starts in three seconds.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from handler.errors import EngineError
from handler.http.reply import Reply
from handler.worker.beacon import Beacon
from handler.worker.open_request import OpenRequest
from handler.worker.pump import Pump

LINE = b"x" * 65_535 + b"\n"
CALL_SECONDS = 0.1
"""Longest time for which the handler keeps a call."""
MAX_OPEN_REQUESTS = 64
pumps: list[Pump] = []


def read(request: OpenRequest) -> Reply:
    """Wait, then answer with the requested number of bytes.

    A stream is sent before the wait, except for its last line.
    """
    script = json.loads(request.row["body"])
    num_lines = script.get("bytes", 0) // len(LINE)
    if "ndjson" not in request.headers.get("accept", ""):
        _wait(request, script.get("seconds", 0))
        return Reply(200, "text/plain", LINE * num_lines + b"end")
    for _ in range(num_lines):
        _wait(request, 0)
        request.stream(LINE)
    _wait(request, script.get("seconds", 0))
    return Reply(200, "application/x-ndjson", b"end")


def _wait(request: OpenRequest, seconds: float) -> None:
    """Wait some seconds; raise EngineError if the request is cancelled."""
    ends_at = time.monotonic() + seconds
    while not request.is_cancelled:
        if time.monotonic() >= ends_at:
            return
        time.sleep(0.01)
    raise EngineError("cancelled")


def describe() -> dict[str, object]:
    """Return the state that /ping reports."""
    return {
        "state": "ready",
        "worker": os.getpid(),
        "slots": 1,
        "drains": "no",
        "open": pumps[0].num_open,
        "fallbacks": "cache_reduced cuda_graphs_failed",
    }


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[bytes] | None:
    """Handle a batch of requests; the first call has no data and starts the pump."""
    if data is None:
        pump = Pump(
            read,
            max_open_requests=MAX_OPEN_REQUESTS,
            max_reply_bytes=100_000_000,
            wait_seconds=CALL_SECONDS,
            report=lambda request, reply: None,
        )
        pumps.append(pump)
        folder = Path(os.environ["CHANDRA_STATE_DIR"])
        Beacon(folder, describe, lambda ends_at: None, pump.disconnect).start()
        return None
    return pumps[0].serve_call(data, context)
