"""Containers of endpoints and jobs: health checks, replacement, updates."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from deploy.emulator.http.invocation import send_get_request
from deploy.emulator.http.wire import ServiceError
from deploy.emulator.limits import Assumptions, SageMakerLimits
from deploy.emulator.process import Process, find_free_port
from deploy.retries import DEFAULT_BACKOFF, Backoff, Poll

__all__ = [
    "Container",
    "ContainerFleet",
    "ExternalContainer",
    "ManagedContainer",
    "Starter",
    "build_environment",
    "wait_until_healthy",
]

POLL_SECONDS = 0.2
PING_INTERVAL_SECONDS = 1.0
RESTART_BACKOFF = Backoff(
    num_retries=2, first_seconds=2 * POLL_SECONDS, longest_seconds=8 * POLL_SECONDS
)
"""Restarts after failed starts, before a container is given up, and their pauses.

SageMaker has no such limit: it restarts containers until the startup timeout.
"""
UNHEALTHY = (
    "The primary container for production variant {variant} did not pass the ping "
    "health check. Please check CloudWatch logs for this endpoint."
)

Starter = Callable[[int], Process]
"""Function that starts the server's program and returns its process.

The program listens on the given port.
"""


class Container(Protocol):
    """Server that documents are sent to."""

    @property
    def address(self) -> str: ...
    @property
    def was_healthy(self) -> bool:
        """True if it has been healthy once; then its endpoint is in service."""
        ...

    @property
    def failure(self) -> str | None:
        """Reason why it will never be healthy; None while it may become so."""
        ...

    def is_healthy(self) -> bool:
        """Send a request to `/ping`; return True if the status is 200.

        A success is recorded in `was_healthy`.
        """
        ...

    def stop(self) -> None: ...


def wait_until_healthy(
    container: Container,
    is_cancelled: Callable[[], bool] = lambda: False,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Ping a container until it is healthy, and return True.

    Returns False if the container has failed, or if `is_cancelled()` is True.
    """
    poll = Poll(
        POLL_SECONDS,
        None,
        DEFAULT_BACKOFF,
        clock=clock,
        sleep=sleep,
        say=lambda line: None,
    )
    for look in poll:
        with look:
            if is_cancelled():
                return False
            if container.is_healthy():
                return True
            if container.failure is not None:
                return False
    raise AssertionError("a poll without a timeout ends only with a return")


class ExternalContainer:
    """Server that the emulator did not start, shared by all endpoints and jobs."""

    failure: str | None = None

    def __init__(self, address: str, limits: SageMakerLimits) -> None:
        self.address = address.rstrip("/")
        self.was_healthy = False
        self._limits = limits

    def is_healthy(self) -> bool:
        response = send_get_request(self.address, "/ping", self._limits.ping_seconds)
        is_healthy = response is not None and response[0] == 200
        self.was_healthy = self.was_healthy or is_healthy
        return is_healthy

    def stop(self) -> None:
        """Do nothing, because the emulator did not start the server."""


class ManagedContainer:
    """Server that the emulator starts, and replaces when it ends, as SageMaker does."""

    def __init__(
        self,
        start: Starter,
        print_line: Callable[[str], None],
        *,
        limits: SageMakerLimits,
        assumptions: Assumptions,
        startup_seconds: float | None = None,
        variant: str = "AllTraffic",
    ) -> None:
        """Start a thread that starts the server, and watches and replaces it.

        `startup_seconds` limits the time until the first healthy response; None means
        the default of `assumptions`.
        """
        self._start = start
        self._print_line = print_line
        self._limits = limits
        self._assumptions = assumptions
        self._startup_seconds = startup_seconds or assumptions.startup_seconds
        self._variant = variant
        self._stopping = threading.Event()
        self._process: Process | None = None
        # Nothing listens on this port; it is replaced when the server starts.
        self.address = "http://127.0.0.1:9"
        self.was_healthy = False
        self._is_starting = True
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run_process, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Process id of the running server; None if none was started."""
        return self._process.pid if self._process is not None else None

    def is_healthy(self) -> bool:
        if self._stopping.is_set():
            return False
        response = send_get_request(self.address, "/ping", self._limits.ping_seconds)
        is_healthy = response is not None and response[0] == 200
        if is_healthy:
            self.was_healthy, self._is_starting = True, False
        return is_healthy

    def stop(self) -> None:
        """Stop the server, and wait until all its processes have ended."""
        self._stopping.set()
        self._thread.join()

    def _run_process(self) -> None:
        """Start the server, and restart it when it ends, until it must stop or is given
        up."""
        num_failed = 0
        while not self._stopping.is_set():
            port = find_free_port()
            try:
                self._process = self._start(port)
            except Exception as error:
                self.failure = str(error)
                self._print_line(f"cannot start the container: {error}")
                return
            self._is_starting = True
            self.address = f"http://127.0.0.1:{port}"
            self._watch_process(self._process)
            if self._process.exit_status is None:
                self._process.stop(self._limits.stop_seconds)
            else:
                self._process.kill_remaining()
            if self._stopping.is_set():
                return
            self._print_line(
                f"the container ended with {self._process.exit_status}; it is replaced"
            )
            # A process killed by a signal (negative status) does not count as a failed
            # start.
            num_failed += not self.was_healthy and (self._process.exit_status or 0) > 0
            if not RESTART_BACKOFF.allows(num_failed):
                self.failure = UNHEALTHY.format(variant=self._variant)
                return
            # An event waits instead of a sleep, so that `stop` ends the pause.
            self._stopping.wait(
                RESTART_BACKOFF.pause_seconds(num_failed)
                if num_failed
                else POLL_SECONDS
            )

    def _watch_process(self, process: Process) -> None:
        """Return when the process ends, is unhealthy for too long, or must stop."""
        unhealthy_since = pinged_at = time.monotonic()
        while process.exit_status is None and not self._stopping.wait(POLL_SECONDS):
            now = time.monotonic()
            if now - pinged_at < PING_INTERVAL_SECONDS:
                continue
            pinged_at = now
            if self.is_healthy():
                unhealthy_since = time.monotonic()
                continue
            limit = (
                self._startup_seconds
                if self._is_starting
                else self._assumptions.replace_seconds
            )
            if now - unhealthy_since > limit:
                self._print_line(f"no healthy /ping for {limit:g} s")
                return


@dataclass
class ContainerPair:
    """Container of an endpoint or job, and the one that it replaces in an update."""

    signature: object
    current: Container
    previous: Container | None = None


class ContainerFleet:
    """Containers of all endpoints and jobs, created at the first use."""

    def __init__(self, create_container: Callable[..., Container]) -> None:
        """`create_container(owner, **settings)` creates the container of an owner."""
        self._create_container = create_container
        self._lock = threading.Lock()
        self._pairs: dict[tuple[str, str], ContainerPair] = {}
        self._is_closed = False

    def get_container(
        self, owner: tuple[str, str], signature: object, **settings: object
    ) -> Container:
        """Return the container that serves an endpoint or job; create it if missing.

        `settings` are those of a new container. A changed signature creates a new
        container; the old one keeps the traffic until the new one is healthy. Raises
        ServiceError while the emulator is closing.
        """
        retired: Container | None = None
        with self._lock:
            if self._is_closed:
                raise ServiceError(
                    "ServiceUnavailable", "the emulator is shutting down", 503
                )
            pair = self._pairs.get(owner)
            if pair is None:
                pair = ContainerPair(
                    signature, self._create_container(owner, **settings)
                )
                self._pairs[owner] = pair
            elif pair.signature != signature:
                retired = pair.previous
                pair = ContainerPair(
                    signature, self._create_container(owner, **settings), pair.current
                )
                self._pairs[owner] = pair
            elif pair.previous is not None and pair.current.was_healthy:
                retired, pair.previous = pair.previous, None
            serving = pair.previous or pair.current
        if retired is not None:
            threading.Thread(target=retired.stop, daemon=True).start()
        return serving

    def get_endpoint_status(self, owner: tuple[str, str]) -> tuple[str, str | None]:
        """Return EndpointStatus and FailureReason of an endpoint that has a container.

        The reason is None unless the status is Failed. A container that has not been
        healthy yet is pinged.
        """
        with self._lock:
            pair = self._pairs[owner]
        if pair.current.failure is not None:
            return "Failed", pair.current.failure
        if pair.current.was_healthy or pair.current.is_healthy():
            return "InService", None
        return ("Updating" if pair.previous else "Creating"), None

    def list_containers(self) -> list[Container]:
        """Return all containers, including those that are being replaced."""
        with self._lock:
            pairs = list(self._pairs.values())
        return [c for pair in pairs for c in (pair.current, pair.previous) if c]

    def remove(self, owner: tuple[str, str], *, waits: bool = True) -> None:
        """Stop the containers of an endpoint or job, if it has any, and forget them.

        Without `waits`, they are stopped in the background.
        """
        with self._lock:
            pair = self._pairs.pop(owner, None)
        if pair is None:
            return
        containers = [c for c in (pair.current, pair.previous) if c]
        if waits:
            _stop_all(containers)
        else:
            threading.Thread(target=_stop_all, args=(containers,)).start()

    def close(self) -> None:
        """Stop all containers, and refuse to create more."""
        with self._lock:
            self._is_closed = True
        _stop_all(self.list_containers())


def _stop_all(containers: Sequence[Container]) -> None:
    """Stop containers and wait for all of them.

    They are stopped concurrently, because each may take a while to end its requests.
    """
    threads = [threading.Thread(target=container.stop) for container in containers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def build_environment(
    model: Mapping[str, str],
    extra: Mapping[str, str],
    *,
    region: str,
    weights: str | None,
) -> dict[str, str]:
    """Return the environment of a container, from its model, its job and SageMaker.

    `weights` is a folder of weights, which replaces the weights that the model names.
    If it is None, they are kept.
    """
    environ = {"AWS_REGION": region, "AWS_DEFAULT_REGION": region, **model, **extra}
    if weights is not None:
        for name in ("MODEL_ID", "MODEL_REVISION", "MODEL_S3_URI"):
            environ.pop(name, None)
        environ["MODEL_DIR"] = weights
    return environ
