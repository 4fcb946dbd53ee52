"""Latency of normal clients beside clients whose documents keep decoders busy.

Normal clients send small pages: first one client, then four, then four beside eight
hostile clients. Hostile clients send PDFs that take a decoder minutes per page. The
latencies and statuses of the normal clients are measured after a warm-up of a minute.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.report import finish, say
from bench.soak.bombs import BOMBS
from bench.soak.traffic import SMALL, encode_png
from mini.pages import render_page
from server.archive import build_archive
from server.host import find_free_addresses
from server.plugin import find_plugin
from server.torchserve import TorchServe

__all__ = ["Period", "TimedAnswers", "main"]

MAX_OUTPUT_TOKENS = 16
MAX_RATIO = 2.0
"""Limit of the ratio of the median latencies with and without hostile clients."""
PAGES_OF_A_BOMB = (1, 1, 2, 20)


@dataclass
class TimedAnswers:
    """Answers with their send times, latencies in seconds, and statuses."""

    entries: list[tuple[float, float, int]] = field(default_factory=list)

    def since(self, start: float) -> TimedAnswers:
        """Return the answers to requests that were sent at `start` or later."""
        return TimedAnswers([entry for entry in self.entries if entry[0] >= start])

    @property
    def median_seconds(self) -> float:
        return statistics.median(seconds for _, seconds, _ in self.entries)

    @property
    def worst_seconds(self) -> float:
        return max(seconds for _, seconds, _ in self.entries)

    @property
    def statuses(self) -> dict[str, int]:
        return dict(Counter(str(status) for _, _, status in self.entries))

    def are_all(self, status: int) -> bool:
        """Return True if there are answers and all have this status."""
        return bool(self.entries) and self.statuses.keys() == {str(status)}


@dataclass(frozen=True)
class Period:
    """Period of a run with a constant set of clients."""

    num_normal: int
    num_hostile: int
    warm_up_seconds: float
    seconds: float
    """Measured time after the warm-up."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all periods; return 1 if the normal clients were slowed down too much."""
    parser = argparse.ArgumentParser(
        prog="hostile", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--normal", type=int, default=4, help="normal clients (default 4)"
    )
    parser.add_argument(
        "--hostile", type=int, default=8, help="hostile clients (default 8)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="measured seconds per period (default 60)",
    )
    parser.add_argument(
        "--warm-up",
        type=float,
        default=60.0,
        help="seconds before the last period counts (default 60)",
    )
    options = parser.parse_args(arguments)

    say(__doc__)
    periods = {
        "one": Period(1, 0, 5.0, options.seconds / 2),
        "alone": Period(options.normal, 0, 5.0, options.seconds),
        "beside": Period(
            options.normal, options.hostile, options.warm_up, options.seconds
        ),
    }
    normal: dict[str, TimedAnswers] = {}
    hostile = TimedAnswers()
    ended: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="chandra-hostile-") as folder:
        build_archive(Path(folder))
        with _make_server(Path(folder), ended) as server:
            server.wait_until_ready(120)
            for name, period in periods.items():
                normal[name], hostile = _run_period(server, period)
                say(
                    f"{name:8}{period.num_normal} normal, "
                    f"{period.num_hostile} hostile: "
                    f"median {normal[name].median_seconds:.3f} s, "
                    f"worst {normal[name].worst_seconds:.3f} s, "
                    f"statuses {normal[name].statuses}"
                )
    ratio = normal["beside"].median_seconds / normal["alone"].median_seconds
    finish(
        "hostile",
        {
            "median": ratio,
            "median_to_one_client": normal["beside"].median_seconds
            / normal["one"].median_seconds,
        },
        median_seconds={
            name: answers.median_seconds for name, answers in normal.items()
        },
        worst_seconds={name: answers.worst_seconds for name, answers in normal.items()},
        statuses={name: answers.statuses for name, answers in normal.items()},
        hostile_statuses=hostile.statuses,
        decoders_ended=dict(ended),
    )
    return int(ratio > MAX_RATIO or not normal["beside"].are_all(200))


def _make_server(model_store: Path, ended: Counter[str]) -> TorchServe:
    """Start a server that counts in `ended` why decoders have ended."""

    def count(line: str) -> None:
        if line.startswith("{") and '"decoder ended"' in line:
            ended[json.loads(line)["why"]] += 1

    return TorchServe(
        overrides=find_free_addresses() | {"model_store": str(model_store)},
        environ=os.environ | {"CHANDRA_MAX_OUTPUT_TOKENS": str(MAX_OUTPUT_TOKENS)},
        write_line=count,
        plugin=find_plugin(),
    )


def _run_period(
    server: TorchServe, period: Period
) -> tuple[TimedAnswers, TimedAnswers]:
    """Run a period; return answers to normal and hostile clients after the warm-up."""
    start = time.monotonic() + period.warm_up_seconds
    end = start + period.seconds
    normal, hostile = TimedAnswers(), TimedAnswers()
    pages, bombs = _LockedIterator(_pages()), _LockedIterator(_bombs())

    def send(answers: TimedAnswers, documents: Iterator[tuple[bytes, str]]) -> None:
        while (sent := time.monotonic()) < end:
            status = _post_document(server, *next(documents), end - sent)
            if status is not None:
                answers.entries.append((sent, time.monotonic() - sent, status))

    with ThreadPoolExecutor(period.num_normal + period.num_hostile) as threads:
        running = [
            *(threads.submit(send, normal, pages) for _ in range(period.num_normal)),
            *(threads.submit(send, hostile, bombs) for _ in range(period.num_hostile)),
        ]
        for future in running:
            future.result()
    return normal.since(start), hostile


def _post_document(
    server: TorchServe, body: bytes, media_type: str, left_seconds: float
) -> int | None:
    """Return the status; None if the period ended before the answer."""
    try:
        answer = httpx.post(
            server.predictions_url,
            content=body,
            headers={"Content-Type": media_type},
            timeout=max(1.0, left_seconds),
        )
    except httpx.TimeoutException:
        return None
    return answer.status_code


class _LockedIterator:
    """Iterator that several threads may share."""

    def __init__(self, iterator: Iterator[tuple[bytes, str]]) -> None:
        self._iterator = iterator
        self._lock = threading.Lock()

    def __iter__(self) -> _LockedIterator:
        return self

    def __next__(self) -> tuple[bytes, str]:
        with self._lock:
            return next(self._iterator)


def _pages() -> Iterator[tuple[bytes, str]]:
    """Yield new pages without end."""
    rng = random.Random("hostile")
    while True:
        page = render_page(rng, SMALL)
        if page.blocks:
            yield encode_png(page), "image/png"


def _bombs() -> Iterator[tuple[bytes, str]]:
    """Yield new bombs without end."""
    rng = random.Random("bombs")
    for number in itertools.count():
        make = BOMBS[number % len(BOMBS)]
        name = f"{rng.random()}"
        yield make(rng.choice(PAGES_OF_A_BOMB), name), "application/pdf"
