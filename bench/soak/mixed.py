"""Test with many clients that send valid, broken and aborted requests.

Faults are a text or label of another request, a 503 without Retry-After, a status other
than 4xx for a broken document, and a request without an answer.
"""

from __future__ import annotations

import argparse
import random
import socket
import statistics
import struct
import threading
import time
from collections import Counter
from collections.abc import Sequence

import httpx

from bench.report import finish, say
from bench.soak.serving import PingWatch, run_server
from bench.soak.traffic import (
    CLIENT_SECONDS,
    AnswerTally,
    PageWithText,
    read_baseline,
    render_pages,
    send_and_judge,
)

__all__ = ["main"]

RIGHT_SHARE = 0.72
BROKEN_SHARE = 0.12
"""Share of broken documents. The clients abort the remaining requests."""
MAX_ABORT_SECONDS = 2.0
_BROKEN = (
    (b"", "image/png"),
    (b"\x89PNG\r\n\x1a\n and nothing else", "image/png"),
    (b'{"document":', "application/json"),
    (b"%PDF-1.7 and nothing else", "application/pdf"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the clients for some time; return 1 if any answer was a fault."""
    parser = argparse.ArgumentParser(prog="mixed", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--clients", type=int, default=64, help="number of clients (default 64)"
    )
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="duration (default 120)"
    )
    options = parser.parse_args(arguments)

    say(__doc__)
    tally, broken = AnswerTally(), Counter[str]()
    with run_server() as server, PingWatch(server) as pings:
        samples = read_baseline(server.address, render_pages("mixed", 16))
        end = time.monotonic() + options.seconds
        threads = [
            threading.Thread(
                target=_run_client,
                args=(n, server.address, samples, end, tally, broken),
            )
            for n in range(options.clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    num_faults = tally.num_faults + broken["wrong"]
    say(f"answers {dict(tally.verdicts)}, broken {dict(broken)}")
    finish(
        "soak mixed",
        {"read": tally.share("read"), "faults": tally.share("crossed")},
        clients=options.clients,
        verdicts=dict(tally.verdicts),
        codes=dict(tally.codes),
        broken=dict(broken),
        median_seconds=statistics.median(tally.seconds),
        slowest_seconds=max(tally.seconds),
        pings=dict(pings.statuses),
    )
    return int(num_faults > 0)


def _run_client(
    client: int,
    address: str,
    samples: Sequence[PageWithText],
    end: float,
    tally: AnswerTally,
    broken: Counter[str],
) -> None:
    """Send random requests until `end`, and count the answers in both counters."""
    rng = random.Random(client)
    number = 0
    while time.monotonic() < end:
        number += 1
        sample = rng.choice(samples)
        draw = rng.random()
        if draw < RIGHT_SHARE:
            tally.add(send_and_judge(address, sample, f"c{client}-{number}", samples))
        elif draw < RIGHT_SHARE + BROKEN_SHARE:
            body, media_type = rng.choice(_BROKEN)
            answer = httpx.post(
                f"{address}/invocations",
                content=body,
                headers={"Content-Type": media_type},
                timeout=CLIENT_SECONDS,
            )
            is_right = 400 <= answer.status_code < 500 or answer.status_code == 503
            broken["refused" if is_right else "wrong"] += 1
        else:
            _send_and_abort(address, sample.body, rng)


def _send_and_abort(address: str, body: bytes, rng: random.Random) -> None:
    """Send a part of a request or all of it, and close or reset the connection."""
    host, _, port = address.removeprefix("http://").partition(":")
    head = (
        f"POST /invocations HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + body[: rng.choice((0, 100, len(body)))])
        time.sleep(rng.random() * MAX_ABORT_SECONDS)
        if rng.random() < 0.5:
            reset = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
