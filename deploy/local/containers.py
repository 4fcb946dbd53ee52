"""Containers: healthy or not, replaced when they die, one for an endpoint or a job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from deploy.local.exchange import get
from deploy.local.limits import Assumed, Limits
from deploy.local.process import Process, free_port

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
            num_failed += not self.was_healthy
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


class Fleet:
    """Which container serves which endpoint; made at its first use."""

    def __init__(self, make: Callable[..., Container]) -> None:
        """`make(owner, environment, startup_seconds)`; see Emulator."""
        self._make = make
        self._lock = threading.Lock()
        self._units: dict[tuple[str, str], tuple[object, Container]] = {}

    def container(
        self,
        owner: tuple[str, str],
        signature: object,
        **wanted: object,
    ) -> Container:
        """The one that is there; another where the signature has changed."""
        with self._lock:
            known = self._units.get(owner)
            if known is not None and known[0] == signature:
                return known[1]
            container = self._make(owner, **wanted)
            self._units[owner] = (signature, container)
        if known is not None:
            # The new one has the traffic; the old one may finish what it began.
            threading.Thread(target=known[1].stop, daemon=True).start()
        return container

    def containers(self) -> list[Container]:
        """All that there are."""
        with self._lock:
            return [container for _, container in self._units.values()]

    def remove(self, owner: tuple[str, str]) -> None:
        with self._lock:
            known = self._units.pop(owner, None)
        if known is not None:
            known[1].stop()

    def stop(self) -> None:
        """All of them, at once."""
        with self._lock:
            owners = list(self._units)
        threads = [threading.Thread(target=self.remove, args=(o,)) for o in owners]
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
