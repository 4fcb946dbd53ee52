"""Growth of the resident memory of each kind of process over thousands of pages.

Clients send small page images and PDFs of a few pages. Some documents are broken, and
some clients disconnect early. The medians of the third and the fourth quarter of the
pages are compared.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from bench.report import finish, say
from bench.soak.traffic import encode_png, render_pages
from mini.pdf import as_pdf
from server.archive import build_archive
from server.host import find_free_addresses
from server.plugin import find_plugin
from server.torchserve import TorchServe

__all__ = ["MemorySamples", "main"]

MAX_OUTPUT_TOKENS = 48
PAGES_OF_A_PDF = (1, 2, 3, 5, 8)
GIVEN_UP_EVERY = 23
"""Number of requests of which one has a client that disconnects early."""
BROKEN_EVERY = 17
PATIENCE_SECONDS = 0.05
MAX_GROWTH = 1.05
"""Limit of the growth from the third to the fourth quarter. Their middles are 500 of
2,000 pages apart, so it detects a leak of 22 kB per page in Java's 220 MB, and of 70 kB
in the engine's 690 MB."""
MIB = 1024 * 1024


@dataclass
class MemorySamples:
    """Megabytes of each kind of process, by the number of answered pages."""

    samples: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def growth(self, kind: str, num_pages: int) -> float:
        """Return the ratio of the fourth quarter's median to the third's.

        `num_pages` is the number of pages of the whole run. Raise StatisticsError if a
        quarter has no sample.
        """

        def median(first: float, last: float) -> float:
            return statistics.median(
                by_kind[kind]
                for answered, by_kind in self.samples
                if first * num_pages <= answered <= last * num_pages
            )

        return median(0.75, 1.0) / median(0.5, 0.75)


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the pages; return 1 if the memory of any process grew too much."""
    parser = argparse.ArgumentParser(prog="memory", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--pages", type=int, default=2000, help="number of pages (default 2000)"
    )
    parser.add_argument(
        "--clients", type=int, default=6, help="number of clients (default 6)"
    )
    options = parser.parse_args(arguments)

    say(__doc__)
    with tempfile.TemporaryDirectory(prefix="chandra-soak-") as folder:
        build_archive(Path(folder))
        with _make_server(Path(folder)) as server:
            server.wait_until_ready(120)
            memory, seconds, outcomes = _send_pages(
                server, options.pages, options.clients
            )
    kinds = memory.samples[0][1]
    growths = {kind: memory.growth(kind, options.pages) for kind in kinds}
    say()
    for kind, growth in growths.items():
        say(f"{kind:10}{growth:7.3f} x from the third quarter to the fourth")
    finish(
        "soak",
        {f"{kind}_growth": growth for kind, growth in growths.items()},
        pages=options.pages,
        pages_per_second=options.pages / seconds,
        requests=outcomes,
        megabytes=memory.samples[-1][1],
    )
    return int(any(growth > MAX_GROWTH for growth in growths.values()))


def _make_server(model_store: Path) -> TorchServe:
    return TorchServe(
        overrides=find_free_addresses() | {"model_store": str(model_store)},
        environ=os.environ | {"CHANDRA_MAX_OUTPUT_TOKENS": str(MAX_OUTPUT_TOKENS)},
        plugin=find_plugin(),
    )


def _send_pages(
    server: TorchServe, num_pages: int, num_clients: int
) -> tuple[MemorySamples, float, dict[str, int]]:
    memory = MemorySamples()
    lock = threading.Lock()
    answered = 0
    outcomes = {"answered": 0, "refused": 0, "given up": 0}
    documents = _generate_requests()
    started = time.monotonic()
    worker = server.query_worker_pid()

    def client() -> None:
        nonlocal answered
        while True:
            with lock:
                if answered >= num_pages:
                    return
                number, (body, media_type, pages) = next(documents)
            outcome = _send_request(server, number, body, media_type)
            with lock:
                outcomes[outcome] += 1
                if outcome == "answered":
                    answered += pages
                if len(memory.samples) * num_pages <= answered * 100:
                    by_kind = _measure_megabytes(server, worker)
                    memory.samples.append((answered, by_kind))
                    if len(memory.samples) % 10 == 1:
                        sizes = ", ".join(f"{k} {v:.0f}" for k, v in by_kind.items())
                        say(f"{answered:6} pages: MB {sizes}")

    with ThreadPoolExecutor(num_clients) as threads:
        for future in [threads.submit(client) for _ in range(num_clients)]:
            future.result()
    return memory, time.monotonic() - started, outcomes


def _send_request(server: TorchServe, number: int, body: bytes, media_type: str) -> str:
    """Send a request, and return `answered`, `refused` or `given up`.

    Raise RuntimeError if the status is not the expected one.
    """
    gives_up = number % GIVEN_UP_EVERY == 0
    try:
        answer = httpx.post(
            server.predictions_url,
            content=body,
            headers={"Content-Type": media_type},
            timeout=PATIENCE_SECONDS if gives_up else 120,
        )
    except httpx.TimeoutException:
        if gives_up:
            return "given up"
        raise
    if number % BROKEN_EVERY == 0:
        answer_is_right = answer.status_code == 422
    else:
        answer_is_right = answer.status_code == 200
    if not answer_is_right:
        raise RuntimeError(f"request {number}: {answer.status_code} {answer.text}")
    return "answered" if answer.status_code == 200 else "refused"


def _generate_requests() -> Iterator[tuple[int, tuple[bytes, str, int]]]:
    """Yield numbered requests without end: body, media type and number of pages."""
    rng = random.Random("soak")
    drawn = render_pages("soak", 40)
    for number in itertools.count(1):
        if number % BROKEN_EVERY == 0:
            yield number, (b"%PDF-1.7 and nothing else", "application/pdf", 0)
        elif number % 2:
            yield number, (encode_png(rng.choice(drawn)), "image/png", 1)
        else:
            pages = rng.sample(drawn, rng.choice(PAGES_OF_A_PDF))
            yield number, (as_pdf(*pages), "application/pdf", len(pages))


def _measure_megabytes(server: TorchServe, worker_pid: int) -> dict[str, float]:
    """Return the resident megabytes of Java, worker, engine, and all helpers."""
    java = server.pid
    assert java is not None
    worker = psutil.Process(worker_pid)
    engines = set(server.read_engine_pids())
    helpers = [child for child in worker.children() if child.pid not in engines]
    return {
        "java": _resident_bytes(psutil.Process(java)) / MIB,
        "worker": _resident_bytes(worker) / MIB,
        "engine": sum(_resident_bytes(psutil.Process(pid)) for pid in engines) / MIB,
        "helpers": sum(map(_resident_bytes, helpers)) / MIB,
    }


def _resident_bytes(process: psutil.Process) -> int:
    resident: int = process.memory_info().rss
    return resident
