"""What can be set, read once.

An environment variable beats model-config.yaml, which beats the default.
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
KUBERNETES = (f"{PREFIX}PORT", f"{PREFIX}SERVICE_")

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
"""Variables with a short name; every setting also goes by CHANDRA_ and its name."""

SHARED = ("max_side",)
"""Settings of both tables: the handler shrinks pages to `max_side`, and the engine
plans memory for pages of that size."""

ENGINES = ("auto", "native", "generate")
ATTENTIONS = ("auto", "torch")


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ModelLoadError(sentence)


@dataclass(frozen=True, slots=True)
class HandlerSettings:
    """How requests are received and answered. Sizes are bytes, times seconds."""

    max_open_requests: int = 64
    """More are refused with 503 and Retry-After."""
    max_document_bytes: int = 100 * 1024 * 1024
    """Of a document that comes in the request."""
    document_buckets: str | None = None
    """Where documents in S3 may lie: `bucket` or `bucket/prefix`, with commas."""
    max_s3_document_bytes: int = 1024 * 1024 * 1024
    max_reply_bytes: int = 100 * 1024 * 1024
    """Not above `max_response_size` of config.properties, which ends the worker."""
    stream_replies: bool = True
    """Send NDJSON page by page in chunks; false: whole, with a Content-Length, which
    asynchronous inference requires."""
    max_pages: int = 1000
    max_pixels: int = 150_000_000
    """Decoded pixels of one page."""
    max_side: int | None = None
    """Cap on the long side of a page as the model sees it, in pixels."""
    max_output_tokens: int | None = None
    """Upper bound for every page; None: the profile's."""
    deadline_seconds: float | None = 55.0
    """For requests that name none; None: no deadline, as in batch transform."""
    decode_seconds: float = 20.0
    """For decoding one page, after which the page is given up."""
    decoder_processes: int = 2
    decoder_memory_bytes: int | None = None
    """Address space of each decoder; None: its share of the container's memory."""
    writer_processes: int = 1
    writer_memory_bytes: int | None = None
    """Address space of each writer; None: its share of the container's memory."""
    wait_seconds: float = 0.1
    """How long a call of `handle` waits for news; longer with large bodies open."""
    metrics_emf: bool = False
    """Metrics as lines of the log that CloudWatch understands, beside TorchServe's."""
    state_dir: str | None = None
    """Where /ping finds out how the worker is; set by whatever starts the server."""

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
        for name, most in (("decode_seconds", 60), ("wait_seconds", 5)):
            value = getattr(self, name)
            _require(
                0 < value <= most,
                f"{name} must be above 0 and at most {most} s, not {value}",
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
        """Bytes of the largest document that a decoder may be given."""
        if self.document_buckets is None:
            return self.max_document_bytes
        return max(self.max_document_bytes, self.max_s3_document_bytes)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Which model is loaded, and how its processes are run."""

    model_dir: str | None = None
    model_s3_uri: str | None = None
    model_id: str | None = None
    model_revision: str | None = None
    model_profile: str | None = None
    """chandra, chandra-2 or mini; None: read from the weights."""
    cache_dir: str = "~/.cache/chandra-torchserve"
    """Where weights from S3 are kept; those from the hub are where HF_HOME says."""
    allow_cpu: bool = False
    """Load more than `mini` where there is no CUDA device: minutes a page."""
    engine: str = "auto"
    """auto, native or generate; auto is native where the architecture is known."""
    attention: str = "auto"
    """Attention of the native engine on a GPU: torch, or auto for the FlashAttention
    operator if the device has it."""
    cuda_graphs: bool = True
    """Record decode steps as CUDA graphs, if the attention operator is used."""
    max_sequences: int | None = None
    """Pages generated together; None: for native what a GPU's memory holds, at most 64,
    and 16 without one; for generate, which waits for the longest of them, 1."""
    prefill_tokens: int = 1024
    """Tokens of a prompt computed in one step: decoding pages wait for it."""
    kv_cache_tokens: int | None = None
    """Tokens the native engine's cache holds; None: what memory allows."""
    max_side: int | None = None
    """The handler's setting; smaller images need less memory."""
    draft_tokens: int | None = 8
    """Maximum draft tokens of a page in a step; None: no drafts."""
    max_attempts: int = 3
    """Times a page is read on which the model repeats itself; native engine only."""
    load_seconds: float = 1700.0
    """For fetching and loading the weights; below TorchServe's startupTimeout."""
    stall_seconds: float = 300.0
    """An engine process that makes no progress with its pages, or sends no heartbeat,
    for this long is replaced. /ping says `stalled` much earlier."""
    max_failed_starts: int = 3
    """Failed starts in a row after which the worker gives up."""
    cpu_threads: int | None = None
    """Threads of a CPU engine; None: torch decides."""
    early_engine: str | None = None
    """Socket at which an engine process waits that is loading already; set by whatever
    starts the server."""

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
    """Settings from the `handler:` table of model-config.yaml and the environment.

    Raises ModelLoadError with the name of what is unknown or makes no sense.
    """
    kinds = _kinds()
    if not isinstance(table, Mapping):
        raise ModelLoadError("handler: in model-config.yaml must be a table")
    for name in table:
        if name not in kinds:
            raise ModelLoadError(f"unknown setting {name}{_nearest(name, kinds)}")
    values = dict(table)
    # The long names last: they win over the short ones.
    names = VARIABLES | {PREFIX + name.upper(): name for name in kinds}
    for variable in environ:
        # Kubernetes tells every pod about a service that is called chandra.
        is_ours = variable.startswith(PREFIX) and not variable.startswith(KUBERNETES)
        if is_ours and variable not in names:
            hint = _nearest(variable, names)
            raise ModelLoadError(f"unknown variable {variable}{hint}")
    for variable, name in names.items():
        if environ.get(variable):
            values[name] = environ[variable]
    parsed = {name: _parse(name, value, kinds[name]) for name, value in values.items()}

    def of(cls: type) -> dict[str, Any]:
        wanted = {field.name for field in dataclasses.fields(cls)}
        return {name: value for name, value in parsed.items() if name in wanted}

    return HandlerSettings(**of(HandlerSettings)), EngineSettings(**of(EngineSettings))


def _kinds() -> dict[str, Any]:
    """The type of each setting by its name."""
    return {
        name: kind
        for cls in (HandlerSettings, EngineSettings)
        for name, kind in typing.get_type_hints(cls).items()
    }


def _nearest(name: object, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _parse(name: str, value: Any, kind: Any) -> Any:
    """`value`, from YAML or the environment, as the type the setting has."""
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
