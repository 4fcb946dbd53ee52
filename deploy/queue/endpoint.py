"""Asynchronous endpoint of a deployment, with a queue in front and results in S3.

SageMaker's asynchronous endpoints do not answer synchronous requests. So this is a
second endpoint with its own model, named after the deployment with `-async`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from deploy.config import MAX_NAME, CaptureTable, DeployConfig
from deploy.errors import ConfigError
from deploy.machines.catalogue import INSTANCES
from deploy.machines.throughput import rate_of
from deploy.resources import AsyncInference, Endpoint, Identity, endpoint_from

__all__ = [
    "Exchange",
    "async_config",
    "async_name",
    "build_async_endpoint",
    "build_output_extension",
    "compute_concurrency",
    "estimate_pages_before_timeout",
    "get_exchange",
]

SUFFIX = "-async"
# KV cache of a page of 3072 x 2048 pixels and 12,384 tokens, with 144 KiB per token.
PAGE_GB = 2.7
# Share of GPU memory that the engine uses; and within it, memory for activations.
SHARE = 0.9
WORKING_GB = 2.0
MAX_CONCURRENCY = 64


@dataclass(frozen=True, slots=True)
class Exchange:
    """Places in S3 where documents and results are exchanged with the endpoint."""

    bucket: str
    prefix: str
    """Prefix with a slash at the end."""

    @property
    def input_prefix(self) -> str:
        """Prefix of uploaded documents."""
        return f"{self.prefix}in/"

    @property
    def output(self) -> str:
        """S3 address of the results."""
        return f"s3://{self.bucket}/{self.prefix}out"

    def get_output_uri(self, key: str, run: str, attempt: int) -> str:
        """Return the S3 address of the result of one attempt, given the job's key."""
        return f"{self.output}/{build_output_extension(run, attempt)}/{key}"

    def get_failure_prefix(self, key: str, run: str, attempt: int) -> str:
        """Return the beginning of the S3 address of the failure of one attempt.

        SageMaker does not document how the address ends.
        """
        return f"{self.failure}/{build_output_extension(run, attempt)}/{key}"

    @property
    def failure(self) -> str:
        """S3 address of the failures."""
        return f"s3://{self.bucket}/{self.prefix}failed"


def build_output_extension(run: str, attempt: int) -> str:
    """Return the path of an attempt below the output path.

    Each attempt and each ledger writes to its own path, so that old results are not
    taken for new ones.
    """
    return f"{run}/attempt-{attempt}"


def get_exchange(config: DeployConfig) -> Exchange:
    """Return the places in S3 of the queue of a deployment.

    Raises ConfigError if `asynchronous.bucket` is not set.
    """
    table = config.asynchronous
    if table.bucket is None:
        raise ConfigError(
            "asynchronous.bucket is not set: it is the S3 bucket for documents and "
            "results",
            hint="set [asynchronous] bucket in chandra.toml, then chandra-sagemaker "
            "iam --create",
        )
    parts = (table.prefix.strip("/"), config.name)
    return Exchange(table.bucket, "".join(f"{part}/" for part in parts if part))


def async_name(config: DeployConfig) -> str:
    """Return the name of the asynchronous endpoint of a deployment."""
    return f"{config.name}{SUFFIX}"


def async_config(config: DeployConfig, identity: Identity) -> DeployConfig:
    """Return a copy of a configuration, changed for the asynchronous endpoint.

    It has the name of that endpoint, one machine, and no data capture. Raises
    ConfigError if the name is too long.
    """
    if len(config.name) + len(SUFFIX) > MAX_NAME:
        max_letters = MAX_NAME - len(SUFFIX)
        raise ConfigError(
            f"name must have at most {max_letters} characters for an asynchronous "
            f"endpoint, not {len(config.name)}",
            hint="a shorter name in chandra.toml",
        )
    return replace(
        config,
        name=async_name(config),
        role=config.role or identity.role_arn(config.role_name),
        endpoint=replace(config.endpoint, instance_count=1),
        # Documents and results are in S3 already, so data capture would only copy them.
        capture=CaptureTable(),
    )


def build_async_endpoint(config: DeployConfig, identity: Identity) -> Endpoint:
    """Return the asynchronous endpoint that `async deploy` creates.

    `config` is the configuration of the deployment, not that of `async_config`. Raises
    ConfigError if `asynchronous.bucket` is not set or the name is too long.
    """
    exchange, table = get_exchange(config), config.asynchronous
    environment = {
        "SERVE_USE": "async",
        "ASYNC_INVOCATION_TIMEOUT_SECONDS": str(table.timeout_seconds),
    }
    if not config.network.isolation:
        environment["DOCUMENT_BUCKETS"] = ",".join(
            (f"{exchange.bucket}/{exchange.input_prefix.rstrip('/')}", *table.sources)
        )
    inference = AsyncInference(
        output=exchange.output,
        failure=exchange.failure,
        concurrency=table.concurrency or compute_concurrency(config),
        success_topic=table.success_topic,
        error_topic=table.error_topic,
        kms_key=config.network.kms_key,
    )
    return endpoint_from(
        async_config(config, identity),
        identity,
        environment=environment,
        asynchronous=inference,
    )


def compute_concurrency(config: DeployConfig) -> int:
    """Return how many documents SageMaker should send to a machine at once.

    As many pages of the largest size fit into GPU memory; the smallest of several
    machine types decides. The number keeps a machine busy even if each document has one
    page. It is 2 for unknown machine types, and at least 2, so that one document is
    decoded while another is read.
    """
    counts = []
    for name in config.endpoint.instance_types:
        instance = INSTANCES.get(name)
        if instance is None:
            continue
        free_gb = instance.gpu.memory_gb * SHARE - config.model.weights_gb - WORKING_GB
        counts.append(int(free_gb / PAGE_GB) * instance.num_gpus)
    return max(2, min([MAX_CONCURRENCY, *counts])) if counts else 2


def estimate_pages_before_timeout(config: DeployConfig) -> int | None:
    """Return how many pages of each document a machine reads before the timeout.

    All documents share the machine evenly, and the slowest of several machine types
    decides. Returns None if the speed of a machine type is unknown.
    """
    table = config.asynchronous
    concurrency = table.concurrency or compute_concurrency(config)
    rates = []
    for name in config.endpoint.instance_types:
        instance = INSTANCES.get(name)
        rate = rate_of(instance.gpu.name) if instance else None
        if instance is None or rate is None:
            return None
        rates.append(rate.together * instance.num_gpus)
    return int(min(rates) * table.timeout_seconds / concurrency)
