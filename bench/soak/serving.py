"""Server of a test, a watch of its /ping, and clients."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from bench.soak.traffic import AnswerTally, PageWithText, send_and_judge
from server.archive import build_archive
from server.host import find_free_addresses
from server.plugin import find_plugin
from server.torchserve import TorchServe

__all__ = ["PingWatch", "run_clients", "run_server"]

PING_SECONDS = 0.2
REFUSED_SECONDS = 0.3
"""Time that a refused client waits before it retries."""


@contextmanager
def run_server(overrides: Mapping[str, str] | None = None) -> Iterator[TorchServe]:
    """Yield a ready server on free ports; `overrides` change its properties."""
    with tempfile.TemporaryDirectory(prefix="chandra-soak-") as folder:
        build_archive(Path(folder))
        server = TorchServe(
            overrides=find_free_addresses()
            | {"model_store": folder}
            | dict(overrides or {}),
            plugin=find_plugin(),
        )
        with server:
            server.wait_until_ready(120)
            yield server


@contextmanager
def run_clients(
    server: TorchServe, samples: Sequence[PageWithText], num_clients: int
) -> Iterator[AnswerTally]:
    """Run client threads that send pages until the block ends; yield their tally."""
    tally = AnswerTally()
    is_over = threading.Event()

    def run(client: int) -> None:
        for number in itertools.count():
            if is_over.is_set():
                return
            sample = samples[(client + 3 * number) % len(samples)]
            outcome = send_and_judge(
                server.address, sample, f"c{client}-{number}", samples
            )
            tally.add(outcome)
            if outcome.verdict != "read":
                is_over.wait(REFUSED_SECONDS)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(num_clients)]
    for thread in threads:
        thread.start()
    try:
        yield tally
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


class Pinged(Protocol):
    """Server that answers pings."""

    def ping(self) -> int | None: ...


class PingWatch:
    """Background thread that pings several times a second and keeps the answers."""

    def __init__(self, server: Pinged) -> None:
        self._server = server
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answers: list[tuple[float, int | None]] = []
        """Monotonic time and status of each ping; None without an answer."""

    def __enter__(self) -> PingWatch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def statuses(self) -> Counter[str]:
        return Counter(str(status) for _, status in self.answers)

    @property
    def is_ready(self) -> bool:
        """True if the last answer was 200."""
        return bool(self.answers) and self.answers[-1][1] == 200

    def seconds_until_ready(self, since: float) -> float | None:
        """Return the seconds from `since` to the last answer that was not 200.

        Returns 0 if every answer was 200, and None if /ping has not recovered.
        """
        bad = [at for at, status in self.answers if at >= since and status != 200]
        if not bad:
            return 0.0
        return bad[-1] - since if self.is_ready else None

    def _run(self) -> None:
        while not self._is_over.wait(PING_SECONDS):
            status = self._server.ping()
            self.answers.append((time.monotonic(), status))
