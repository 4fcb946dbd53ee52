"""Test with clients that never read their NDJSON stream, beside a normal client.

The server must survive with bounded memory, and read every normal page.
"""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Sequence

import psutil

from bench.report import finish, say
from bench.soak.serving import run_clients, run_server
from bench.soak.traffic import read_baseline, render_pages
from mini.pdf import as_pdf

__all__ = ["main"]

SAMPLE_SECONDS = 4.0
RECEIVE_BUFFER_BYTES = 4096
MIB = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the readers for some time; return 1 if a normal page was not read."""
    parser = argparse.ArgumentParser(
        prog="readers", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--readers", type=int, default=8, help="clients that do not read (default 8)"
    )
    parser.add_argument(
        "--pages", type=int, default=200, help="pages per document (default 200)"
    )
    parser.add_argument(
        "--seconds", type=float, default=180.0, help="duration (default 180)"
    )
    options = parser.parse_args(arguments)

    say(__doc__)
    megabytes: list[float] = []
    with run_server() as server:
        pages = render_pages("readers", 8)
        samples = read_baseline(server.address, pages)
        document = as_pdf(*(pages[n % len(pages)] for n in range(options.pages)))
        connections = [
            _open_stream(server.address, document) for _ in range(options.readers)
        ]
        java = psutil.Process(server.pid)
        with run_clients(server, samples, 1) as tally:
            end = time.monotonic() + options.seconds
            while time.monotonic() < end and server.is_running:
                megabytes.append(java.memory_info().rss / MIB)
                time.sleep(SAMPLE_SECONDS)
        for connection in connections:
            connection.close()
        has_survived = server.is_running
    finish(
        "soak readers",
        {"read": tally.share("read"), "java_growth": max(megabytes) / megabytes[0]},
        readers=options.readers,
        java_megabytes=[round(value) for value in megabytes],
        verdicts=dict(tally.verdicts),
        codes=dict(tally.codes),
    )
    return int(tally.share("read") < 1.0 or not has_survived)


def _open_stream(address: str, document: bytes) -> socket.socket:
    """Request a stream with the smallest possible receive window."""
    host, _, port = address.removeprefix("http://").partition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    connection.connect((host, int(port)))
    head = (
        f"POST /invocations HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Accept: application/x-ndjson\r\nContent-Type: application/pdf\r\n"
        f"Content-Length: {len(document)}\r\n\r\n"
    )
    connection.sendall(head.encode() + document)
    return connection
