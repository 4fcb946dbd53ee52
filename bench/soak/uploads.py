"""Test with slow uploads of large bodies beside a client with normal pages.

The server must read every normal page while the slow uploads last.
"""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Sequence

from bench.report import finish, say
from bench.soak.serving import run_clients, run_server
from bench.soak.traffic import read_baseline, render_pages

__all__ = ["main"]

STEP_SECONDS = 1.0
MAX_UPLOAD_SECONDS = 300
"""The server's limit for an upload at its slowest allowed rate."""
STALL_SECONDS = 60
"""`chandra_stall_seconds` in config.properties."""
ANSWER_SECONDS = 0.5
"""The server answers a refused upload within this time."""
MIN_BYTES = 2000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the uploads for some time; return 1 if a normal page was not read."""
    parser = argparse.ArgumentParser(
        prog="uploads", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--uploads", type=int, default=40, help="number of uploads (default 40)"
    )
    parser.add_argument(
        "--announced-bytes",
        type=int,
        default=140_000_000,
        help="Content-Length of the uploads (default 140,000,000)",
    )
    parser.add_argument(
        "--bytes-per-second",
        type=int,
        default=500,
        help="speed of an upload (default 500)",
    )
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="duration (default 120)"
    )
    options = parser.parse_args(arguments)

    say(__doc__)
    with run_server() as server:
        samples = read_baseline(server.address, render_pages("uploads", 8))
        uploads = _open_uploads(
            server.address, options.announced_bytes, options.uploads
        )
        with run_clients(server, samples, 1) as tally:
            end = time.monotonic() + options.seconds
            num_alive = len(uploads)
            while time.monotonic() < end:
                num_alive = sum(
                    _send_bytes(upload, options.bytes_per_second) for upload in uploads
                )
                time.sleep(STEP_SECONDS)
        for upload in uploads:
            upload.close()
    # The server refuses a slower upload after chandra_stall_seconds.
    least = options.announced_bytes / MAX_UPLOAD_SECONDS
    has_to_end = (
        options.seconds > 2 * STALL_SECONDS and options.bytes_per_second < least
    )
    finish(
        "soak uploads",
        {"read": tally.share("read")},
        uploads=len(uploads),
        uploads_at_the_end=num_alive,
        verdicts=dict(tally.verdicts),
        codes=dict(tally.codes),
    )
    return int(tally.share("read") < 1.0 or (num_alive > 0 and has_to_end))


def _open_uploads(
    address: str, num_bytes: int, num_uploads: int
) -> list[socket.socket]:
    """Open up to `num_uploads` uploads of `num_bytes`, of which one byte is sent.

    After each refusal, smaller uploads are announced, down to MIN_BYTES.
    """
    uploads: list[socket.socket] = []
    while len(uploads) < num_uploads and num_bytes > MIN_BYTES:
        upload = _announce(address, num_bytes)
        time.sleep(ANSWER_SECONDS)
        if _send_bytes(upload, 1):
            uploads.append(upload)
        else:
            upload.close()
            num_bytes = num_bytes * 4 // 5
    return uploads


def _announce(address: str, num_bytes: int) -> socket.socket:
    host, _, port = address.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)))
    connection.setblocking(False)
    head = (
        f"POST /invocations HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: image/png\r\nContent-Length: {num_bytes}\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


def _send_bytes(upload: socket.socket, num_bytes: int) -> bool:
    """Send some bytes; return True if the server still accepts this upload."""
    try:
        upload.send(b"A" * num_bytes)
        upload.recv(1)
    except BlockingIOError:  # There is no answer yet: the upload goes on.
        return True
    except OSError:
        pass
    return False
