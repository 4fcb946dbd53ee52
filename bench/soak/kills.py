"""Test in which one kind of process is killed or stopped repeatedly under load.

Every answer must be the right text or a 503 with Retry-After, and /ping must return to
200 after each fault.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
from collections.abc import Sequence

import psutil

from bench.report import finish, say
from bench.soak.serving import PingWatch, run_clients, run_server
from bench.soak.traffic import read_baseline, render_pages
from server.torchserve import TorchServe

__all__ = ["find_pids", "main"]

TARGETS = ("engine", "worker", "decoder")
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
WARM_UP_SECONDS = 4.0
RECOVERY_SECONDS = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Cause the faults; return 1 after a wrong answer or if /ping did not recover."""
    parser = argparse.ArgumentParser(prog="kills", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--target",
        choices=TARGETS,
        default="engine",
        help="kind of process (default engine)",
    )
    parser.add_argument(
        "--signal",
        choices=SIGNALS,
        default="kill",
        help="signal to send (default kill)",
    )
    parser.add_argument(
        "--faults", type=int, default=5, help="number of faults (default 5)"
    )
    parser.add_argument(
        "--clients", type=int, default=6, help="number of clients (default 6)"
    )
    parser.add_argument(
        "--stopped-seconds",
        type=float,
        default=20.0,
        help="seconds from SIGSTOP to SIGCONT (default 20)",
    )
    options = parser.parse_args(arguments)

    say(__doc__)
    recoveries: list[float | None] = []
    with run_server() as server, PingWatch(server) as pings:
        samples = read_baseline(server.address, render_pages("kills", 16))
        with run_clients(server, samples, options.clients) as tally:
            time.sleep(WARM_UP_SECONDS)
            for number in range(options.faults):
                pid = random.choice(find_pids(server, options.target))
                at = time.monotonic()
                os.kill(pid, SIGNALS[options.signal])
                if options.signal == "stop":
                    time.sleep(options.stopped_seconds)
                    _resume(pid)
                recoveries.append(_wait_until_ready(pings, at))
                say(f"fault {number + 1}: ready again after {recoveries[-1]} s")
    num_lost = recoveries.count(None)
    finish(
        "soak kills",
        {"read": tally.share("read"), "recovered": 1 - num_lost / len(recoveries)},
        target=options.target,
        signal=options.signal,
        verdicts=dict(tally.verdicts),
        codes=dict(tally.codes),
        recovery_seconds=recoveries,
        pings=dict(pings.statuses),
    )
    return int(tally.num_faults > 0 or num_lost > 0)


def find_pids(server: TorchServe, target: str) -> list[int]:
    """Return the process ids of one kind; decoders include the writers."""
    worker = server.query_worker_pid()
    engines = server.read_engine_pids()
    if target == "engine":
        return engines
    if target == "worker":
        return [worker]
    children = psutil.Process(worker).children()
    return [child.pid for child in children if child.pid not in engines]


def _resume(pid: int) -> None:
    """Send SIGCONT to a stopped process, which may have been replaced."""
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        say("the stopped process was replaced")


def _wait_until_ready(pings: PingWatch, since: float) -> float | None:
    """Wait until /ping is 200, and return the seconds from `since` to the last failure.

    Return None if it does not recover in time.
    """
    deadline = time.monotonic() + RECOVERY_SECONDS
    time.sleep(WARM_UP_SECONDS)
    while time.monotonic() < deadline and not pings.is_ready:
        time.sleep(0.2)
    return pings.seconds_until_ready(since)
