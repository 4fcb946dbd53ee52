"""Memory growth of the worker with the largest bodies that a client can send."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

MEGABYTE = 10**6
NUM_BYTES = 130 * MEGABYTE
JSON = "application/json"
FORM = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n'
BODIES = {
    "nesting": (JSON, b"[", b"[", b"", 400, "bad_request"),
    "lists": (JSON, b'{"x":[', b"[],", b'[]],"document":""}', 422, "invalid_option"),
    "name": (JSON, b'{"', b"pqxy", b'":1,"document":"AAAA"}', 422, "invalid_option"),
    "pages": (JSON, b'{"pages":"', b"1,", b'1"}', 422, "invalid_option"),
    "base64": (JSON, b'{"document":"', b"AAAA", b'"}', 415, "unsupported_media_type"),
    "blanks": (JSON, b'{"document":"', b"AA ", b'"}', 415, "unsupported_media_type"),
    "escapes": (JSON, b'{"document":"', rb"A\/A", b'"}', 415, "unsupported_media_type"),
    "part": (FORM, PART % b"pages", b"1,", b"\r\n--x--", 400, "bad_request"),
    "file": (FORM, PART % b"file", b"AA", b"\r\n--x--", 413, "document_too_large"),
}
"""Content type, head, repeated bytes and tail of a body; status and code of the answer.
"""


def read_status_bytes(pid: int, name: str) -> int:
    """Return a value of /proc/PID/status, such as VmRSS, in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    match = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


@pytest.mark.parametrize("name", BODIES)
def test_body_of_130_mb_grows_the_worker_by_less_than_400(client, name):
    media_type, head, repeated, tail, status, code = BODIES[name]
    body = (
        head + repeated * ((NUM_BYTES - len(head) - len(tail)) // len(repeated)) + tail
    )
    worker = client.server.query_worker_pid()
    # TorchServe keeps a reference to the last body until the next one arrives.
    client.post(b"small", "image/png")
    before = read_status_bytes(worker, "VmRSS")
    # This resets VmHWM, so that it is the peak from now on.
    Path(f"/proc/{worker}/clear_refs").write_text("5")

    answer = client.post(body, media_type)

    growth_bytes = read_status_bytes(worker, "VmHWM") - before
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert client.server.query_worker_pid() == worker
    assert growth_bytes < 400 * MEGABYTE
