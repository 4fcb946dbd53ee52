"""Containers: healthy or not, replaced when they die, one for an endpoint or a job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from deploy.emulator.http.exchange import get
from deploy.emulator.http.wire import Refusal
from deploy.emulator.limits import Assumed, Limits
from deploy.emulator.process import Process, free_port

__all__ = [
    "Container",
    "Fleet",
    "Own",
    "Remote",
    "Starter",
    "environment_for",
    "wait_until_healthy",
]

POLL_SECONDS = 0.2
PING_EVERY_SECONDS = 1.0
MAX_FAILED_STARTS = 3
"""SageMaker goes on until the time for startup is over."""
UNHEALTHY = (
    "The primary container for production variant {variant} did not pass the ping "
    "health check. Please check CloudWatch logs for this endpoint."
)

Starter = Callable[[int], Process]
"""Starts the server's program so that it listens on that port."""


class Container(Protocol):
    """Where documents are sent."""

    @property
    def address(self) -> str: ...
    @property
    def was_healthy(self) -> bool:
        """Once, at least: then an endpoint is in service."""
        ...

    @property
    def failure(self) -> str | None:
        """Why it will never be; None while it may."""
        ...

    def is_healthy(self) -> bool:
        """Whether `/ping` is 200, asked now."""
        ...

    def stop(self) -> None: ...


def wait_until_healthy(
    container: Container, is_over: Callable[[], bool] = lambda: False
) -> bool:
    """False where it never will be, or waiting is over before."""
    while not is_over():
        if container.is_healthy():
            return True
        if container.failure is not None:
            return False
        time.sleep(POLL_SECONDS)
    return False


class Remote:
    """A server that somebody else runs; one for everything."""

    failure: str | None = None

    def __init__(self, address: str, limits: Limits) -> None:
        self.address = address.rstrip("/")
        self.was_healthy = False
        self._limits = limits

    def is_healthy(self) -> bool:
        answer = get(self.address, "/ping", self._limits.ping_seconds)
        is_healthy = answer is not None and answer[0] == 200
        self.was_healthy = self.was_healthy or is_healthy
        return is_healthy

    def stop(self) -> None:
        """It is not ours."""


class Own:
    """One that we start, and start again when it ends, as SageMaker replaces it."""

    def __init__(
        self,
        start: Starter,
        say: Callable[[str], None],
        *,
        limits: Limits,
        assumed: Assumed,
        startup_seconds: float | None = None,
        variant: str = "AllTraffic",
    ) -> None:
        self._start = start
        self._say = say
        self._limits = limits
        self._assumed = assumed
        self._startup_seconds = startup_seconds or assumed.startup_seconds
        self._variant = variant
        self._stopping = threading.Event()
        self._process: Process | None = None
        self.address = "http://127.0.0.1:9"
        self.was_healthy = False
        self._is_new = True
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process is not None else None

    def is_healthy(self) -> bool:
        if self._stopping.is_set():
            return False
        answer = get(self.address, "/ping", self._limits.ping_seconds)
        is_healthy = answer is not None and answer[0] == 200
        if is_healthy:
            self.was_healthy, self._is_new = True, False
        return is_healthy

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        num_failed = 0
        while not self._stopping.is_set():
            port = free_port()
            try:
                self._process = self._start(port)
            except Exception as error:
                self.failure = str(error)
                self._say(f"the container cannot be started: {error}")
                return
            self._is_new = True
            self.address = f"http://127.0.0.1:{port}"
            self._watch(self._process)
            if self._process.status is None:
                self._process.stop(self._limits.stop_seconds)
            else:
                self._process.clear()
            if self._stopping.is_set():
                return
            self._say(
                f"the container ended with {self._process.status}; it is replaced"
            )
            # Killed by somebody, it might have started.
            num_failed += not self.was_healthy and (self._process.status or 0) > 0
            if num_failed == MAX_FAILED_STARTS:
                self.failure = UNHEALTHY.format(variant=self._variant)
                return
            self._stopping.wait(POLL_SECONDS * 2**num_failed)

    def _watch(self, process: Process) -> None:
        """Until it ends, has been sick for too long, or is to be stopped."""
        sick_since = asked_at = time.monotonic()
        while process.status is None and not self._stopping.wait(POLL_SECONDS):
            now = time.monotonic()
            if now - asked_at < PING_EVERY_SECONDS:
                continue
            asked_at = now
            if self.is_healthy():
                sick_since = time.monotonic()
                continue
            limit = (
                self._startup_seconds if self._is_new else self._assumed.replace_seconds
            )
            if now - sick_since > limit:
                self._say(f"no healthy /ping for {limit:g} s")
                return


@dataclass
class Unit:
    """What an owner has: one container, and the one that it takes over from."""

    signature: object
    newest: Container
    before: Container | None = None


class Fleet:
    """Which container serves which endpoint or job; made at its first use."""

    def __init__(self, make: Callable[..., Container]) -> None:
        """`make(owner, **wanted)`; see Emulator."""
        self._make = make
        self._lock = threading.Lock()
        self._units: dict[tuple[str, str], Unit] = {}
        self._is_closed = False

    def container(
        self, owner: tuple[str, str], signature: object, **wanted: object
    ) -> Container:
        """The one that serves; another where the signature has changed.

        The old one has the traffic until the new one is healthy. Raises Refusal
        where everything is being ended.
        """
        done: Container | None = None
        with self._lock:
            if self._is_closed:
                raise Refusal("ServiceUnavailable", "the emulator is ending", 503)
            unit = self._units.get(owner)
            if unit is None:
                unit = Unit(signature, self._make(owner, **wanted))
                self._units[owner] = unit
            elif unit.signature != signature:
                done = unit.before
                unit = Unit(signature, self._make(owner, **wanted), unit.newest)
                self._units[owner] = unit
            elif unit.before is not None and unit.newest.was_healthy:
                done, unit.before = unit.before, None
            serving = unit.before or unit.newest
        if done is not None:
            threading.Thread(target=done.stop, daemon=True).start()
        return serving

    def status(self, owner: tuple[str, str]) -> tuple[str, str | None]:
        """An endpoint's, in SageMaker's words, and why it failed."""
        with self._lock:
            unit = self._units[owner]
        if unit.newest.failure is not None:
            return "Failed", unit.newest.failure
        if unit.newest.was_healthy or unit.newest.is_healthy():
            return "InService", None
        return ("Updating" if unit.before else "Creating"), None

    def containers(self) -> list[Container]:
        """All that there are."""
        with self._lock:
            units = list(self._units.values())
        return [c for unit in units for c in (unit.newest, unit.before) if c]

    def remove(self, owner: tuple[str, str], *, is_awaited: bool = True) -> None:
        """What it had ends, and whoever comes next under that name gets another."""
        with self._lock:
            unit = self._units.pop(owner, None)
        if unit is None:
            return
        ending = [c for c in (unit.newest, unit.before) if c]
        if is_awaited:
            _stop_all(ending)
        else:
            threading.Thread(target=_stop_all, args=(ending,)).start()

    def close(self) -> None:
        """End all of them, and make no more."""
        with self._lock:
            self._is_closed = True
        _stop_all(self.containers())


def _stop_all(containers: Sequence[Container]) -> None:
    """At once: each may take its time to drain."""
    threads = [threading.Thread(target=each.stop) for each in containers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def environment_for(
    model: Mapping[str, str],
    extra: Mapping[str, str],
    *,
    region: str,
    weights: str | None,
) -> dict[str, str]:
    """What SageMaker sets, beside what the model and the job do.

    `weights` is a folder, or None for those that the model names.
    """
    environ = {"AWS_REGION": region, "AWS_DEFAULT_REGION": region, **model, **extra}
    if weights is not None:
        for name in ("MODEL_ID", "MODEL_REVISION", "MODEL_S3_URI"):
            environ.pop(name, None)
        environ["MODEL_DIR"] = weights
    return environ
