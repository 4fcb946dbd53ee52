"""Settings of the service, read once at start.

Environment variables override model-config.yaml, which overrides the defaults.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handler.errors import ModelLoadError
from handler.storage.addresses import Buckets

__all__ = ["SHARED", "VARIABLES", "EngineSettings", "HandlerSettings", "read_settings"]

PREFIX = "CHANDRA_"
KUBERNETES_PREFIXES = (f"{PREFIX}PORT", f"{PREFIX}SERVICE_")
"""Beginnings of the variables that Kubernetes sets for a service named chandra."""

VARIABLES = {
    "MODEL_DIR": "model_dir",
    "MODEL_S3_URI": "model_s3_uri",
    "MODEL_ID": "model_id",
    "MODEL_REVISION": "model_revision",
    "MODEL_PROFILE": "model_profile",
    "ALLOW_CPU": "allow_cpu",
    "METRICS_EMF": "metrics_emf",
    "DOCUMENT_BUCKETS": "document_buckets",
}
"""Environment variables with a short name. Every setting can also be set by a variable
named CHANDRA_ and the name of the setting in capitals."""

SHARED = ("max_side",)
"""Settings that both classes have: the handler shrinks pages to `max_side`, and the
engine plans memory for pages of that size."""

ENGINES = ("auto", "native", "generate")
ATTENTIONS = ("auto", "torch")


def _require(condition: bool, sentence: str) -> None:
    """Raise ModelLoadError with this sentence unless the condition holds."""
    if not condition:
        raise ModelLoadError(sentence)


@dataclass(frozen=True, slots=True)
class HandlerSettings:
    """Settings for requests and replies. Sizes are in bytes, times in seconds."""

    max_open_requests: int = 64
    """Limit for open requests; further ones are refused with 503 and Retry-After."""
    max_document_bytes: int = 100 * 1024 * 1024
    """Limit for a document in the body of a request."""
    document_buckets: str | None = None
    """Buckets that documents may be read from: `bucket` or `bucket/prefix`, separated
    by commas; None: documents are not read from S3."""
    max_s3_document_bytes: int = 1024 * 1024 * 1024
    max_reply_bytes: int = 100 * 1024 * 1024
    """Must not exceed `max_response_size` of config.properties: TorchServe ends a
    worker that sends a larger reply."""
    stream_replies: bool = True
    """Send NDJSON page by page, in chunks. If false, send it as a whole with a
    Content-Length, which asynchronous inference requires."""
    max_pages: int = 1000
    max_pixels: int = 150_000_000
    """Limit for the decoded pixels of one page."""
    max_side: int | None = None
    """Limit for the long side of the image that the model gets of a page, in pixels."""
    max_output_tokens: int | None = None
    """Limit for the output tokens of a page; None: the limit of the profile."""
    deadline_seconds: float | None = 55.0
    """Deadline of requests that set none; None: no deadline, as in batch transform."""
    decode_seconds: float = 20.0
    """Time limit for decoding one page, after which the page fails."""
    decoder_processes: int = 2
    decoder_memory_bytes: int | None = None
    """Address space of each decoder; None: its share of the container's memory."""
    writer_processes: int = 1
    writer_memory_bytes: int | None = None
    """Address space of each writer; None: its share of the container's memory."""
    wait_seconds: float = 0.1
    """Time that a call of `handle` waits for a reply; longer with large bodies open."""
    metrics_emf: bool = False
    """Also log metrics in CloudWatch's embedded metric format."""
    state_dir: str | None = None
    """Folder through which the worker publishes its state for /ping; set by the
    supervisor that starts the server."""

    def __post_init__(self) -> None:
        for name in (
            "max_open_requests",
            "max_document_bytes",
            "max_s3_document_bytes",
            "max_reply_bytes",
            "max_pages",
            "max_pixels",
            "decoder_processes",
            "writer_processes",
        ):
            value = getattr(self, name)
            _require(value >= 1, f"{name} must be at least 1, not {value}")
        for name, maximum in (("decode_seconds", 60), ("wait_seconds", 5)):
            value = getattr(self, name)
            _require(
                0 < value <= maximum,
                f"{name} must be above 0 and at most {maximum} s, not {value}",
            )
        for name in (
            "max_side",
            "max_output_tokens",
            "deadline_seconds",
            "decoder_memory_bytes",
            "writer_memory_bytes",
        ):
            value = getattr(self, name)
            _require(
                value is None or value > 0,
                f"{name} must be above 0 or left out, not {value}",
            )
        Buckets(self.document_buckets)
        _require(
            self.max_side is None or self.max_side >= 32,
            f"max_side must be at least 32 pixels, not {self.max_side}",
        )

    @property
    def largest_document_bytes(self) -> int:
        """Size in bytes of the largest document that a decoder may get."""
        if self.document_buckets is None:
            return self.max_document_bytes
        return max(self.max_document_bytes, self.max_s3_document_bytes)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings for the model and for the engine processes."""

    model_dir: str | None = None
    model_s3_uri: str | None = None
    model_id: str | None = None
    model_revision: str | None = None
    model_profile: str | None = None
    """chandra, chandra-2 or mini; None: read from the weights."""
    cache_dir: str = "~/.cache/chandra-torchserve"
    """Folder for weights from S3; weights from the Hugging Face Hub use HF_HOME."""
    allow_cpu: bool = False
    """Load models other than `mini` without a CUDA device; a page then takes minutes.
    """
    engine: str = "auto"
    """auto, native or generate; auto means native if it supports the architecture."""
    attention: str = "auto"
    """Attention of the native engine on a GPU: torch, or auto for the FlashAttention
    operator if the device has it."""
    cuda_graphs: bool = True
    """Record decode steps as CUDA graphs, if the attention operator is used."""
    max_sequences: int | None = None
    """Number of pages generated at the same time. None means, for native, as many as
    fit into the GPU's memory, at most 64, and 16 without a GPU. For generate, which
    waits for the longest page of a batch, None means 1."""
    prefill_tokens: int = 1024
    """Maximum number of prompt tokens in one step; pages that decode wait for the step.
    """
    kv_cache_tokens: int | None = None
    """Size of the native engine's KV cache in tokens; None: as memory allows."""
    max_side: int | None = None
    """Same setting as the handler's; smaller images need less memory."""
    draft_tokens: int | None = 8
    """Maximum number of draft tokens of a page in one step; None: no drafts."""
    max_attempts: int = 3
    """Number of attempts for a page on which the model repeats itself; native engine
    only."""
    load_seconds: float = 1700.0
    """Time limit for fetching and loading the weights. Must be below TorchServe's
    startupTimeout."""
    stall_seconds: float = 300.0
    """Time without progress on its pages, or without a heartbeat, after which an engine
    process is replaced. /ping reports `stalled` much earlier."""
    max_failed_starts: int = 3
    """Number of consecutive failed starts after which the worker gives up."""
    cpu_threads: int | None = None
    """Number of threads of a CPU engine; None: the default of torch."""
    early_engine: str | None = None
    """Socket of an engine process that the supervisor started before the worker, so
    that it loads the model meanwhile; set by that supervisor."""

    def __post_init__(self) -> None:
        for name in ("max_attempts", "max_failed_starts", "prefill_tokens"):
            value = getattr(self, name)
            _require(value >= 1, f"{name} must be at least 1, not {value}")
        for name in ("max_sequences", "kv_cache_tokens", "draft_tokens"):
            value = getattr(self, name)
            _require(
                value is None or value >= 1,
                f"{name} must be at least 1 or left out, not {value}",
            )
        _require(
            self.engine in ENGINES,
            f"engine must be one of {', '.join(ENGINES)}, not {self.engine}",
        )
        _require(
            self.attention in ATTENTIONS,
            f"attention must be one of {', '.join(ATTENTIONS)}, not {self.attention}",
        )
        for name in ("load_seconds", "stall_seconds"):
            value = getattr(self, name)
            _require(value > 0, f"{name} must be above 0, not {value}")
        _require(
            self.cpu_threads is None or self.cpu_threads >= 1,
            f"cpu_threads must be at least 1 or left out, not {self.cpu_threads}",
        )


def read_settings(
    table: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[HandlerSettings, EngineSettings]:
    """Return the settings in the `handler:` table and in the environment.

    Raises ModelLoadError with the name of a setting that is unknown or invalid.
    """
    kinds = _setting_types()
    if not isinstance(table, Mapping):
        raise ModelLoadError("handler: in model-config.yaml must be a table")
    for name in table:
        if name not in kinds:
            raise ModelLoadError(f"unknown setting {name}{_suggest(name, kinds)}")
    values = dict(table)
    # The long names come last, because they override the short ones.
    names = VARIABLES | {PREFIX + name.upper(): name for name in kinds}
    for variable in environ:
        # Kubernetes sets such variables in every pod if a service is named chandra.
        is_setting = variable.startswith(PREFIX) and not variable.startswith(
            KUBERNETES_PREFIXES
        )
        if is_setting and variable not in names:
            hint = _suggest(variable, names)
            raise ModelLoadError(f"unknown variable {variable}{hint}")
    for variable, name in names.items():
        if environ.get(variable):
            values[name] = environ[variable]
    parsed = {name: _parse(name, value, kinds[name]) for name, value in values.items()}

    def select_fields(cls: type) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(cls)}
        return {name: value for name, value in parsed.items() if name in names}

    return (
        HandlerSettings(**select_fields(HandlerSettings)),
        EngineSettings(**select_fields(EngineSettings)),
    )


def _setting_types() -> dict[str, Any]:
    """Return the type of each setting by its name."""
    return {
        name: kind
        for cls in (HandlerSettings, EngineSettings)
        for name, kind in typing.get_type_hints(cls).items()
    }


def _suggest(name: object, names: Mapping[str, Any]) -> str:
    """Return the question "; did you mean ...?", or no text without a similar name."""
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _parse(name: str, value: Any, kind: Any) -> Any:
    """Convert a value from YAML or the environment to the type of its setting.

    Raises ModelLoadError with the name of the setting if that is not possible.
    """
    allowed = set(typing.get_args(kind)) or {kind}
    if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
        if type(None) in allowed:
            return None
        raise ModelLoadError(f"{name} cannot be left empty")
    if bool in allowed:
        return _parse_bool(name, value)
    if str in allowed:
        if isinstance(value, Mapping | list):
            raise ModelLoadError(f"{name} must be text, not {value!r}")
        return str(value)
    number = int if int in allowed else float
    try:
        if isinstance(value, bool) or (number is int and int(value) != float(value)):
            raise ValueError
        return number(value)
    except (TypeError, ValueError, OverflowError) as error:
        kind_name = "a whole number" if number is int else "a number"
        raise ModelLoadError(f"{name} must be {kind_name}, not {value!r}") from error


def _parse_bool(name: str, value: Any) -> bool:
    text = str(value).lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    raise ModelLoadError(f"{name} must be true or false, not {value!r}")
