"""What can be set, from chandra.toml and chandra.lock.json, read once.

chandra.toml is written by people. chandra.lock.json is written by `image push` and
`model stage`: the digest and the revision that a deployment uses until the next push.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.errors import ConfigError

__all__ = [
    "AsynchronousTable",
    "CaptureTable",
    "DeployConfig",
    "EndpointTable",
    "ImageTable",
    "ModelTable",
    "NetworkTable",
    "TransformTable",
    "UpdateTable",
    "config_from",
    "lock_path",
    "read_config",
    "write_lock",
]

NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
# A name, a dash and eight digits of a digest must fit into SageMaker's 63 characters.
MAX_NAME = 54
FORBIDDEN = {
    "SAGEMAKER_INFERENCE_COMPONENT_NAME": "it belongs to inference components; "
    "a standard endpoint needs none",
}
# A token opens doors; tokens are what pages are made of.
SECRET = re.compile(r"TOKEN(?!S)|SECRET|PASSWORD|CREDENTIAL|API_?KEY|ACCESS_KEY", re.I)


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ConfigError(sentence)


def _check_environment(where: str, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if name in FORBIDDEN:
            raise ConfigError(f"{where} must not set {name}: {FORBIDDEN[name]}")
        _require(
            not SECRET.search(name),
            f"{where} must not hold {name}: whoever may describe the model can read "
            "it; stage gated weights with `model stage`",
        )
        _require(
            len(name) <= 1024 and len(value) <= 1024,
            f"{where}.{name} is longer than SageMaker's 1024",
        )


@dataclass(frozen=True, slots=True)
class ImageTable:
    """What is built, and where it is kept."""

    repository: str = "chandra-torchserve"
    uri: str | None = None
    """An image by digest, in place of the one in chandra.lock.json."""
    tag: str | None = None
    """What it was pushed as; for people."""
    cuda: str = "12.8"
    """CUDA that the image's torch was built for; compared with the driver."""
    dockerfile: str = "Dockerfile"
    context: str = "."
    keep: int = 10
    """Images that the repository keeps."""

    def __post_init__(self) -> None:
        _require(self.keep >= 1, f"image.keep must be at least 1, not {self.keep}")
        _require(
            re.fullmatch(r"\d+\.\d+", self.cuda) is not None,
            f"image.cuda must look like 12.8, not {self.cuda}",
        )
        _require(
            self.uri is None or "@sha256:" in self.uri,
            f"image.uri must name a digest (…@sha256:…), not {self.uri}: "
            "a tag can be moved under a running endpoint",
        )


@dataclass(frozen=True, slots=True)
class ModelTable:
    """Which weights, and where they lie."""

    id: str = "datalab-to/chandra"
    revision: str | None = None
    """A commit of the hub, in place of the one in chandra.lock.json."""
    source: str = "s3"
    """s3: staged by `model stage`. hub: the container fetches them when it starts."""
    bucket: str | None = None
    prefix: str = "models"
    weights_gb: float = 17.5
    """What the weights take on a GPU; compared with its memory."""

    def __post_init__(self) -> None:
        _require(
            self.source in ("s3", "hub"),
            f"model.source must be s3 or hub, not {self.source}",
        )
        _require(self.weights_gb > 0, "model.weights_gb must be above 0")
        _require(
            self.bucket is None or not self.bucket.startswith("s3://"),
            f"model.bucket is a name without s3://, not {self.bucket}",
        )


@dataclass(frozen=True, slots=True)
class EndpointTable:
    """The machines."""

    instance_types: tuple[str, ...] = ("ml.g6e.2xlarge",)
    """Several: the first that has capacity, in this order."""
    instance_count: int = 1
    ami: str = "al2-ami-sagemaker-inference-gpu-3-1"
    startup_timeout_seconds: int = 1200
    download_timeout_seconds: int = 1200
    provision_timeout_seconds: int = 1200
    """For each of several instance types, before the next is tried."""
    volume_gb: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = self.instance_types
        _require(bool(kinds), "endpoint.instance_types must name at least one")
        _require(len(kinds) <= 5, f"endpoint.instance_types takes 5, not {len(kinds)}")
        _require(
            len(set(kinds)) == len(kinds), "endpoint.instance_types names one twice"
        )
        _require(
            self.instance_count >= 1,
            f"endpoint.instance_count must be at least 1, not {self.instance_count}; "
            "`chandra-sagemaker stop` is what costs nothing",
        )
        for name, least in (
            ("startup_timeout_seconds", 60),
            ("download_timeout_seconds", 60),
            ("provision_timeout_seconds", 300),
        ):
            value = getattr(self, name)
            _require(
                least <= value <= 3600,
                f"endpoint.{name} must be {least} to 3600, not {value}",
            )
        _require(
            self.volume_gb is None or 1 <= self.volume_gb <= 512,
            f"endpoint.volume_gb must be 1 to 512, not {self.volume_gb}",
        )
        _check_environment("endpoint.environment", self.environment)


@dataclass(frozen=True, slots=True)
class NetworkTable:
    """What the container can reach, and with which keys data is encrypted."""

    isolation: bool = True
    """No network at all inside the container; weights from S3 still arrive."""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    kms_key: str | None = None
    """For weights and images; and for volumes, on instances without local disks."""

    def __post_init__(self) -> None:
        _require(
            bool(self.subnets) == bool(self.security_groups),
            "network.subnets and network.security_groups go together",
        )


@dataclass(frozen=True, slots=True)
class UpdateTable:
    """How a running endpoint changes."""

    strategy: str = "blue-green"
    """blue-green: beside the old one. recreate: after it, with minutes of nothing."""
    bake_seconds: int = 600
    """The old machines stay this long, to go back to when an alarm goes off."""
    use_alarms: bool = True
    """Roll back on the alarms that `chandra-sagemaker alarms` made."""

    def __post_init__(self) -> None:
        _require(
            self.strategy in ("blue-green", "recreate"),
            f"update.strategy must be blue-green or recreate, not {self.strategy}",
        )
        _require(
            0 <= self.bake_seconds <= 3600,
            f"update.bake_seconds must be 0 to 3600, not {self.bake_seconds}",
        )


@dataclass(frozen=True, slots=True)
class CaptureTable:
    """Requests and replies copied to S3. Off: they are customers' documents."""

    uri: str | None = None
    percent: int = 100

    def __post_init__(self) -> None:
        _require(
            self.uri is None or self.uri.startswith("s3://"),
            f"capture.uri must begin with s3://, not be {self.uri}",
        )
        _require(
            0 <= self.percent <= 100,
            f"capture.percent must be 0 to 100, not {self.percent}",
        )


@dataclass(frozen=True, slots=True)
class TransformTable:
    """Batch transform: machines that come for a bucket of documents, and go."""

    instance_type: str = "ml.g6e.2xlarge"
    max_instances: int = 10
    """What a plan takes at most; --instance-count may take more."""
    ami: str = "al2-ami-sagemaker-batch-gpu-535"
    weights: str = "tar"
    """tar: staged by `model stage --tar`. pull: read from S3 by the container, which
    network.isolation has to allow."""
    invocation_timeout_seconds: int = 3600
    """For one document."""
    invocation_retries: int = 1
    """Each may take as long again, and costs as much."""
    buckets: tuple[str, ...] = ()
    """Beside model.bucket: where documents are read and results written."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least, most in (
            ("max_instances", 1, 100),
            ("invocation_timeout_seconds", 1, 3600),
            ("invocation_retries", 0, 3),
        ):
            value = getattr(self, name)
            _require(
                least <= value <= most,
                f"transform.{name} must be {least} to {most}, not {value}",
            )
        _require(
            self.weights in ("tar", "pull"),
            f"transform.weights must be tar or pull, not {self.weights}",
        )
        for bucket in self.buckets:
            _require(
                "/" not in bucket,
                f"transform.buckets are names without s3://, not {bucket}",
            )
        _check_environment("transform.environment", self.environment)


@dataclass(frozen=True, slots=True)
class AsynchronousTable:
    """The second endpoint, for documents in S3; made by `async deploy` only."""

    bucket: str | None = None
    """Where documents wait and results come; in the region of the endpoint."""
    prefix: str = "async"
    sources: tuple[str, ...] = ()
    """bucket or bucket/prefix that documents are read from, where they lie already."""
    min_instances: int = 0
    max_instances: int = 2
    backlog_per_instance: int = 5
    """Documents that may wait for each machine before there is another one."""
    concurrency: int | None = None
    """Documents a machine reads at once; None: as many pages as its GPUs hold."""
    timeout_seconds: int = 3600
    """For one document, and the service's own deadline for it."""
    wait_seconds: int = 21_600
    """A document that has waited this long is given up by SageMaker."""
    idle_seconds: int | None = None
    """Machines go after so long without work; None: a little above the timeout."""
    scale_out_seconds: int = 600
    """What a new machine takes to help; until then no further one is asked for."""
    success_topic: str | None = None
    error_topic: str | None = None

    def __post_init__(self) -> None:
        _require(
            self.bucket is None or not self.bucket.startswith("s3://"),
            f"asynchronous.bucket is a name without s3://, not {self.bucket}",
        )
        for source in self.sources:
            _require(
                not source.startswith("s3://") and bool(source.strip("/")),
                f"asynchronous.sources are bucket or bucket/prefix, not {source}",
            )
        _require(
            0 <= self.min_instances <= self.max_instances and self.max_instances >= 1,
            "asynchronous.min_instances must be 0 to max_instances, and that at least "
            f"1, not {self.min_instances} and {self.max_instances}",
        )
        for name, least, most in (
            ("backlog_per_instance", 1, 100_000),
            ("concurrency", 1, 1000),
            ("timeout_seconds", 1, 3600),
            ("wait_seconds", 60, 21_600),
            ("scale_out_seconds", 0, 7200),
        ):
            value = getattr(self, name)
            _require(
                value is None or least <= value <= most,
                f"asynchronous.{name} must be {least} to {most}, not {value}",
            )
        # The GPU says so too, so less than the timeout is allowed to whoever asks.
        _require(
            300 <= self.idle <= 86_400,
            f"asynchronous.idle_seconds must be 300 to 86400, not {self.idle}",
        )
        for topic in (self.success_topic, self.error_topic):
            _require(
                topic is None or topic.startswith("arn:"),
                f"asynchronous.success_topic and error_topic are ARNs, not {topic}",
            )

    @property
    def idle(self) -> int:
        """Seconds, in whole minutes."""
        seconds = self.idle_seconds
        if seconds is None:
            seconds = self.timeout_seconds + 300
        return -(-seconds // 60) * 60


@dataclass(frozen=True, slots=True)
class DeployConfig:
    """One deployment: an endpoint and everything it needs."""

    name: str = "chandra"
    region: str | None = None
    """None: the profile's."""
    role: str | None = None
    """ARN of the execution role; None: the one `iam --create` makes."""
    image: ImageTable = field(default_factory=ImageTable)
    model: ModelTable = field(default_factory=ModelTable)
    endpoint: EndpointTable = field(default_factory=EndpointTable)
    network: NetworkTable = field(default_factory=NetworkTable)
    update: UpdateTable = field(default_factory=UpdateTable)
    capture: CaptureTable = field(default_factory=CaptureTable)
    transform: TransformTable = field(default_factory=TransformTable)
    asynchronous: AsynchronousTable = field(default_factory=AsynchronousTable)
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(
            NAME.fullmatch(self.name) is not None and len(self.name) <= MAX_NAME,
            f"name must be letters, digits and single dashes, at most {MAX_NAME} of "
            f"them, not {self.name}",
        )
        _require(
            self.role is None or self.role.startswith("arn:"),
            f"role must be an ARN, not {self.role}",
        )
        _require(
            not (self.network.isolation and self.model.source == "hub"),
            "network.isolation = true keeps the container from the hub: set it to "
            'false, or stage the weights and set model.source = "s3"',
        )

    @property
    def role_name(self) -> str:
        return f"{self.name}-execution"


def config_from(
    mapping: Mapping[str, Any], lock: Mapping[str, Any] | None = None
) -> DeployConfig:
    """What chandra.toml describes; what it leaves open, the lock fills."""
    merged = dict(mapping)
    for table, values in (lock or {}).items():
        chosen = merged.get(table, {})
        # What is no table is refused below, by its name.
        merged[table] = {**values, **chosen} if isinstance(chosen, dict) else chosen
    config = _build(DeployConfig, merged, "")
    assert isinstance(config, DeployConfig)
    return config


def read_config(path: Path) -> DeployConfig:
    """Raises ConfigError that names the file and the setting."""
    try:
        mapping = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no {path}", hint="chandra-sagemaker init"
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    try:
        return config_from(mapping, read_lock(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint) from error


def lock_path(path: Path) -> Path:
    """chandra.lock.json beside chandra.toml."""
    return path.with_suffix(".lock.json")


def read_lock(path: Path) -> dict[str, dict[str, Any]]:
    lock = lock_path(path)
    try:
        content = json.loads(lock.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{lock} cannot be read: {error}") from error
    if not isinstance(content, dict) or not all(
        isinstance(table, dict) for table in content.values()
    ):
        raise ConfigError(
            f"{lock} is not as it was written",
            hint="delete it; chandra-sagemaker image push and model stage write it "
            "again",
        )
    return content


def write_lock(path: Path, table: str, values: Mapping[str, Any]) -> Path:
    """Record what was pushed or staged; other tables stay as they are."""
    content = read_lock(path) | {table: dict(values)}
    lock = lock_path(path)
    try:
        lock.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    except OSError as error:
        raise ConfigError(
            f"{lock} cannot be written: {error.strerror}",
            hint=f"make its folder writable and run it again, or set [{table}] in "
            f"{path.name} to {json.dumps(dict(values))}",
        ) from error
    return lock


def _build(cls: type, mapping: object, where: str) -> Any:
    """A dataclass from a table, refusing names it does not have."""
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where.rstrip('.')} must be a table")
    kinds = typing.get_type_hints(cls)
    for name in mapping:
        if name not in kinds:
            close = difflib.get_close_matches(str(name), kinds, n=1)
            nearest = f"; did you mean {where}{close[0]}?" if close else ""
            raise ConfigError(f"unknown setting {where}{name}{nearest}")
    return cls(
        **{name: _value(kinds[name], v, where + name) for name, v in mapping.items()}
    )


def _value(kind: Any, value: object, where: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build(kind, value, f"{where}.")
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _value(arguments[0], value, where)
    if origin is tuple:
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise ConfigError(f"{where} must be a list of words, not {value!r}")
        return tuple(value)
    if origin is not None:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a table")
        return {str(name): _text(v, f"{where}.{name}") for name, v in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {str: "text", int: "a whole number", float: "a number"}
        wanted = words.get(kind, "true or false")
        raise ConfigError(f"{where} must be {wanted}, not {value!r}")
    return value


def _text(value: object, where: str) -> str:
    """TOML's numbers and booleans as a container's environment has them."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(f"{where} must be text, not {value!r}")
