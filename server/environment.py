"""What a container's environment says, made into settings for what runs in it.

Values only: nothing here reads a file or starts anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["VARIABLES", "Use", "VariableError", "Wanted", "wanted_from"]

MIB = 1024**2

VARIABLES = {
    "SAGEMAKER_BIND_TO_PORT": "8080",
    "BIND_ADDRESS": "0.0.0.0",
    "PRIVATE_PORTS": "fixed",
    "SERVE_USE": "local",
    "MAX_PAYLOAD_MB": "140, 25, 1024 or 100, by use",
    "ASYNC_INVOCATION_TIMEOUT_SECONDS": "900",
    "STARTUP_TIMEOUT_SECONDS": "1800",
    "RESPONSE_TIMEOUT_SECONDS": "120",
    "DRAIN_SECONDS": "20",
    "SERVE_UID": "10001 in the image, else nobody else",
    "JAVA_HEAP_MB": "a third of the memory or less",
}
"""What is read here, and what holds where it is not set."""

ASYNC_MARGIN_SECONDS = 30
"""For an answer to be written and sent before SageMaker gives up."""
MAX_BATCH_SIZE = 96
_JAVA_MB = 256
"""What Java takes with no request open."""
_COPIES = 3
"""Of a body that the handler sees, beside the one that came."""
MAX_DRAIN_SECONDS = 22
"""30 s after SIGTERM everything is killed; the frontend takes up to 3 s to end."""


class Use(StrEnum):
    """Who sends the documents: that bounds what one request holds."""

    LOCAL = "local"
    REALTIME = "realtime"
    ASYNC = "async"
    BATCH = "batch"


_REQUEST_MB = {Use.LOCAL: 140, Use.REALTIME: 25, Use.ASYNC: 1024, Use.BATCH: 100}
_AT_ONCE = {Use.LOCAL: 32, Use.REALTIME: 32, Use.ASYNC: 4, Use.BATCH: 4}
_USUAL_MB = {Use.LOCAL: 25, Use.REALTIME: 25, Use.ASYNC: 256, Use.BATCH: 100}
"""What memory is planned for: as many requests, of such a size at most."""
_REPLY_MB = {Use.LOCAL: 100, Use.REALTIME: 25, Use.ASYNC: 100, Use.BATCH: 100}


class VariableError(Exception):
    """A variable makes no sense; the message says which, and what would."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the container is to run."""

    use: Use
    address: str
    port: int
    has_fixed_ports: bool
    """Those nobody else uses; any that are free, where containers share a machine."""
    request_mb: int
    reply_mb: int
    payload_mb: int
    """What batch transform is told; times its concurrency, at most 100."""
    heap_mb: int
    batch_size: int
    """Requests the handler sees at once; others wait in Java."""
    usual_mb: int
    """What a body is planned with; larger ones leave room for fewer others."""
    startup_seconds: int
    response_seconds: int
    drain_seconds: int
    uid: int | None
    """Whom the server is handed to, where we may and it can read the weights."""
    handler: Mapping[str, str] = field(default_factory=dict)
    """Variables for the handler, where the container's own do not say otherwise."""

    @property
    def properties(self) -> dict[str, str]:
        """Keys of config.properties."""
        return {
            "inference_address": f"http://{self.address}:{self.port}",
            "max_request_size": str(self.request_mb * MIB),
            # Above the handler's own limit, so that it can say what is too large:
            # TorchServe would end the worker.
            "max_response_size": str((self.reply_mb + 1) * MIB),
            "chandra_max_payload_mb": str(self.payload_mb),
            # What is left of Java's memory beside itself and the copies of bodies that
            # the handler sees.
            "chandra_body_budget_mb": str(
                max(
                    self.usual_mb,
                    self.heap_mb - _JAVA_MB - _COPIES * self.batch_size * self.usual_mb,
                )
            ),
            "chandra_body_usual_mb": str(self.usual_mb),
            # Java's usual collector gives up with a third of the heap free: bodies are
            # large, and it cannot move them to make room.
            "vmargs": f"-Xmx{self.heap_mb}m -XX:+UseParallelGC "
            "-XX:+ExitOnOutOfMemoryError",
        }

    @property
    def model_config(self) -> dict[str, int]:
        """Keys of model-config.yaml."""
        return {
            "batchSize": self.batch_size,
            "startupTimeout": self.startup_seconds,
            "responseTimeout": self.response_seconds,
            # A worker that ends is started again for at least as long as one start.
            "maxRetryTimeoutInSec": max(300, self.startup_seconds),
        }


def wanted_from(environ: Mapping[str, str], memory_bytes: int) -> Wanted:
    """Read the environment of a container that has so much memory.

    Raises VariableError with the variable's name.
    """
    # A job takes its model's variables as they are, and those may be an endpoint's.
    is_batch = environ.get("SAGEMAKER_BATCH", "").lower() == "true"
    use = Use.BATCH if is_batch else _use(environ)
    # SageMaker sets it only where the job does; 0 means that there is no limit.
    request_mb = payload_mb = 0
    if environ.get("SAGEMAKER_MAX_PAYLOAD_IN_MB"):
        payload_mb = _number(environ, "SAGEMAKER_MAX_PAYLOAD_IN_MB", 0, 0, 100)
        request_mb = payload_mb or 1024
    request_mb = request_mb or _REQUEST_MB[use]
    request_mb = _number(environ, "MAX_PAYLOAD_MB", request_mb, 1, 1024)
    num_requests = _number(
        environ, "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", _AT_ONCE[use], 1, 1000
    )
    body_mb = min(_USUAL_MB[use], request_mb)
    # A body as it came, and two copies on its way to the worker, which gets all that
    # are open in every call. Java may take as much again outside its heap.
    wanted_mb = _JAVA_MB + num_requests * body_mb * (1 + _COPIES)
    heap_mb = max(256, min(wanted_mb, memory_bytes // MIB // 3))
    heap_mb = _number(environ, "JAVA_HEAP_MB", heap_mb, 64, 65_536)
    left_mb = heap_mb - _JAVA_MB - num_requests * body_mb
    batch_size = max(4, min(MAX_BATCH_SIZE, left_mb // (_COPIES * body_mb)))
    startup_seconds = _number(environ, "STARTUP_TIMEOUT_SECONDS", 1800, 30, 86_400)
    return Wanted(
        use=use,
        address=environ.get("BIND_ADDRESS") or "0.0.0.0",
        port=_number(environ, "SAGEMAKER_BIND_TO_PORT", 8080, 1, 65_535),
        has_fixed_ports=_has_fixed_ports(environ),
        request_mb=request_mb,
        reply_mb=_REPLY_MB[use],
        payload_mb=payload_mb or min(request_mb, 25),
        heap_mb=heap_mb,
        batch_size=batch_size,
        usual_mb=body_mb,
        startup_seconds=startup_seconds,
        response_seconds=_number(environ, "RESPONSE_TIMEOUT_SECONDS", 120, 30, 86_400),
        drain_seconds=_number(environ, "DRAIN_SECONDS", 20, 0, MAX_DRAIN_SECONDS),
        uid=_number(environ, "SERVE_UID", 0, 0, 2**31) or None,
        handler=_for_the_handler(
            use, request_mb, startup_seconds, _deadline(environ, use)
        ),
    )


def _deadline(environ: Mapping[str, str], use: Use) -> str | None:
    """The handler's `deadline_seconds`; None: its own is right."""
    seconds = _number(environ, "ASYNC_INVOCATION_TIMEOUT_SECONDS", 900, 1, 3600)
    if use is Use.ASYNC:
        # Before SageMaker's, which throws away what was read until then.
        return f"{max(seconds - ASYNC_MARGIN_SECONDS, seconds / 2):g}"
    # A job's timeout is told to nobody here, and nobody waits at a keyboard.
    return "none" if use is Use.BATCH else None


def _for_the_handler(
    use: Use, request_mb: int, startup_seconds: int, deadline: str | None
) -> dict[str, str]:
    document_mb = 100 if use is Use.LOCAL else request_mb
    variables = {
        "CHANDRA_MAX_DOCUMENT_BYTES": str(document_mb * MIB),
        "CHANDRA_MAX_REPLY_BYTES": str(_REPLY_MB[use] * MIB),
        # Before TorchServe gives up, so that the reason is told.
        "CHANDRA_LOAD_SECONDS": f"{startup_seconds * 0.94:.0f}",
    }
    if use in (Use.ASYNC, Use.BATCH):
        # SageMaker stores the answer as an object and needs its Content-Length.
        variables["CHANDRA_STREAM_REPLIES"] = "false"
    if deadline is not None:
        variables["CHANDRA_DEADLINE_SECONDS"] = deadline
    return variables


def _use(environ: Mapping[str, str]) -> Use:
    text = environ.get("SERVE_USE") or Use.LOCAL
    try:
        return Use(text)
    except ValueError as error:
        raise VariableError(
            f"SERVE_USE must be one of {', '.join(Use)}, not {text}"
        ) from error


def _has_fixed_ports(environ: Mapping[str, str]) -> bool:
    text = environ.get("PRIVATE_PORTS") or "fixed"
    if text not in ("fixed", "any"):
        raise VariableError(f"PRIVATE_PORTS must be fixed or any, not {text}")
    return text == "fixed"


def _number(
    environ: Mapping[str, str], name: str, otherwise: int, least: int, most: int
) -> int:
    text = environ.get(name)
    if not text:
        return otherwise
    try:
        number = int(text)
        if not least <= number <= most:
            raise ValueError
    except ValueError as error:
        raise VariableError(
            f"{name} must be a whole number from {least} to {most}, not {text}"
        ) from error
    return number
