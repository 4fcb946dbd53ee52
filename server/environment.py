"""Settings of a container, derived from its environment variables.

This module only computes values: it reads no file and starts no process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["VARIABLES", "ContainerSettings", "Use", "VariableError", "read_environment"]

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
    "SERVE_UID": "10001 in the image, otherwise unset",
    "JAVA_HEAP_MB": "a third of the memory or less",
}
"""Environment variables and their defaults."""

ASYNC_MARGIN_SECONDS = 30
"""Time to write and send an answer before SageMaker's timeout."""
MAX_BATCH_SIZE = 96
_JAVA_MB = 256
"""Java's heap use without open requests, in MiB."""
_COPIES = 3
"""Further copies of a body that Java makes on its way to the handler."""
MAX_DRAIN_SECONDS = 22
"""SageMaker sends SIGKILL 30 s after SIGTERM; the frontend needs up to 3 s to end."""


class Use(StrEnum):
    """Kind of clients, which determines size limits and timeouts of requests."""

    LOCAL = "local"
    REALTIME = "realtime"
    ASYNC = "async"
    BATCH = "batch"


_REQUEST_MB = {Use.LOCAL: 140, Use.REALTIME: 25, Use.ASYNC: 1024, Use.BATCH: 100}
_MAX_CONCURRENT = {Use.LOCAL: 32, Use.REALTIME: 32, Use.ASYNC: 4, Use.BATCH: 4}
_USUAL_MB = {Use.LOCAL: 25, Use.REALTIME: 25, Use.ASYNC: 256, Use.BATCH: 100}
"""Body size that memory is planned for, with `_MAX_CONCURRENT` requests open."""
_REPLY_MB = {Use.LOCAL: 100, Use.REALTIME: 25, Use.ASYNC: 100, Use.BATCH: 100}


class VariableError(Exception):
    """An environment variable is invalid; the message names it and the valid values."""


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """Settings of a container."""

    use: Use
    address: str
    port: int
    has_fixed_ports: bool
    """False if containers share a network, and each must look for free ports."""
    request_mb: int
    reply_mb: int
    payload_mb: int
    """MaxPayloadInMB for batch transform: at most 100 divided by its concurrency."""
    heap_mb: int
    batch_size: int
    """Most requests that the handler gets at once; the others wait in Java."""
    usual_mb: int
    """Body size that memory is planned for; larger bodies reduce concurrency."""
    startup_seconds: int
    response_seconds: int
    drain_seconds: int
    uid: int | None
    """User id for the server, if we may switch to it and it can read the weights."""
    handler: Mapping[str, str] = field(default_factory=dict)
    """Variables for the handler; variables set in the container take precedence."""

    @property
    def properties(self) -> dict[str, str]:
        """Keys of config.properties that this container sets."""
        return {
            "inference_address": f"http://{self.address}:{self.port}",
            "max_request_size": str(self.request_mb * MIB),
            # Larger than the handler's own limit, so that the handler reports an error
            # before TorchServe ends the worker.
            "max_response_size": str((self.reply_mb + 1) * MIB),
            "chandra_max_payload_mb": str(self.payload_mb),
            # The heap without Java's own use and the copies of the bodies that the
            # handler gets.
            "chandra_body_budget_mb": str(
                max(
                    self.usual_mb,
                    self.heap_mb - _JAVA_MB - _COPIES * self.batch_size * self.usual_mb,
                )
            ),
            "chandra_body_usual_mb": str(self.usual_mb),
            # G1, Java's default collector, fails with a third of the heap free: bodies
            # are humongous objects, and G1 does not move those to make room.
            "vmargs": f"-Xmx{self.heap_mb}m -XX:+UseParallelGC "
            "-XX:+ExitOnOutOfMemoryError",
        }

    @property
    def model_config(self) -> dict[str, int]:
        """Keys of model-config.yaml that this container sets."""
        return {
            "batchSize": self.batch_size,
            "startupTimeout": self.startup_seconds,
            "responseTimeout": self.response_seconds,
            # TorchServe restarts a failed worker only for this time, which must be
            # long enough for one start.
            "maxRetryTimeoutInSec": max(300, self.startup_seconds),
        }


def read_environment(
    environ: Mapping[str, str], memory_bytes: int
) -> ContainerSettings:
    """Derive the settings from variables and from the memory of the container.

    Raise VariableError if a variable is invalid.
    """
    # A batch job gets the variables of its model, which may be meant for an endpoint:
    # SAGEMAKER_BATCH takes precedence over SERVE_USE.
    is_batch = environ.get("SAGEMAKER_BATCH", "").lower() == "true"
    use = Use.BATCH if is_batch else _read_use(environ)
    # SageMaker sets this variable only if the job does; 0 means no limit.
    request_mb = payload_mb = 0
    if environ.get("SAGEMAKER_MAX_PAYLOAD_IN_MB"):
        payload_mb = _read_number(environ, "SAGEMAKER_MAX_PAYLOAD_IN_MB", 0, 0, 100)
        request_mb = payload_mb or 1024
    request_mb = request_mb or _REQUEST_MB[use]
    request_mb = _read_number(environ, "MAX_PAYLOAD_MB", request_mb, 1, 1024)
    num_requests = _read_number(
        environ, "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", _MAX_CONCURRENT[use], 1, 1000
    )
    body_mb = min(_USUAL_MB[use], request_mb)
    # Each body is held as received and as _COPIES copies on its way to the worker. Java
    # may use as much again outside its heap, so take at most a third of the memory.
    ideal_mb = _JAVA_MB + num_requests * body_mb * (1 + _COPIES)
    heap_mb = max(256, min(ideal_mb, memory_bytes // MIB // 3))
    heap_mb = _read_number(environ, "JAVA_HEAP_MB", heap_mb, 64, 65_536)
    left_mb = heap_mb - _JAVA_MB - num_requests * body_mb
    batch_size = max(4, min(MAX_BATCH_SIZE, left_mb // (_COPIES * body_mb)))
    startup_seconds = _read_number(environ, "STARTUP_TIMEOUT_SECONDS", 1800, 30, 86_400)
    return ContainerSettings(
        use=use,
        address=environ.get("BIND_ADDRESS") or "0.0.0.0",
        port=_read_number(environ, "SAGEMAKER_BIND_TO_PORT", 8080, 1, 65_535),
        has_fixed_ports=_read_has_fixed_ports(environ),
        request_mb=request_mb,
        reply_mb=_REPLY_MB[use],
        payload_mb=payload_mb or min(request_mb, 25),
        heap_mb=heap_mb,
        batch_size=batch_size,
        usual_mb=body_mb,
        startup_seconds=startup_seconds,
        response_seconds=_read_number(
            environ, "RESPONSE_TIMEOUT_SECONDS", 120, 30, 86_400
        ),
        drain_seconds=_read_number(environ, "DRAIN_SECONDS", 20, 0, MAX_DRAIN_SECONDS),
        uid=_read_number(environ, "SERVE_UID", 0, 0, 2**31) or None,
        handler=_handler_variables(
            use, request_mb, startup_seconds, _read_deadline(environ, use)
        ),
    )


def _read_deadline(environ: Mapping[str, str], use: Use) -> str | None:
    """Return a value for the handler's `deadline_seconds`; None keeps its default."""
    seconds = _read_number(environ, "ASYNC_INVOCATION_TIMEOUT_SECONDS", 900, 1, 3600)
    if use is Use.ASYNC:
        # End before SageMaker's timeout, which would discard the finished pages.
        return f"{max(seconds - ASYNC_MARGIN_SECONDS, seconds / 2):g}"
    # A container does not learn its batch job's timeout, and no user is waiting.
    return "none" if use is Use.BATCH else None


def _handler_variables(
    use: Use, request_mb: int, startup_seconds: int, deadline: str | None
) -> dict[str, str]:
    document_mb = 100 if use is Use.LOCAL else request_mb
    variables = {
        "CHANDRA_MAX_DOCUMENT_BYTES": str(document_mb * MIB),
        "CHANDRA_MAX_REPLY_BYTES": str(_REPLY_MB[use] * MIB),
        # End before TorchServe's timeout, so that the handler logs the reason.
        "CHANDRA_LOAD_SECONDS": f"{startup_seconds * 0.94:.0f}",
    }
    if use in (Use.ASYNC, Use.BATCH):
        # SageMaker stores the answer in S3 and needs its Content-Length.
        variables["CHANDRA_STREAM_REPLIES"] = "false"
    if deadline is not None:
        variables["CHANDRA_DEADLINE_SECONDS"] = deadline
    return variables


def _read_use(environ: Mapping[str, str]) -> Use:
    text = environ.get("SERVE_USE") or Use.LOCAL
    try:
        return Use(text)
    except ValueError as error:
        raise VariableError(
            f"SERVE_USE must be one of {', '.join(Use)}, not {text}"
        ) from error


def _read_has_fixed_ports(environ: Mapping[str, str]) -> bool:
    text = environ.get("PRIVATE_PORTS") or "fixed"
    if text not in ("fixed", "any"):
        raise VariableError(f"PRIVATE_PORTS must be fixed or any, not {text}")
    return text == "fixed"


def _read_number(
    environ: Mapping[str, str], name: str, default: int, minimum: int, maximum: int
) -> int:
    text = environ.get(name)
    if not text:
        return default
    try:
        number = int(text)
        if not minimum <= number <= maximum:
            raise ValueError
    except ValueError as error:
        raise VariableError(
            f"{name} must be a whole number from {minimum} to {maximum}, not {text}"
        ) from error
    return number
