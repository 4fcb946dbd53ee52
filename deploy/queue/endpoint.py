"""The second endpoint of a deployment: documents wait in a queue, results come to S3.

SageMaker's asynchronous endpoints answer no other requests, so it is an endpoint of its
own, with a model of its own, whose names begin with the deployment's and -async.
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
    "async_endpoint_from",
    "async_name",
    "concurrency_of",
    "exchange_of",
    "extension_of",
    "pages_in_time",
]

SUFFIX = "-async"
# A page of 3072 x 2048 pixels and 12,384 tokens: keys and values at 144 KiB a token.
PAGE_GB = 2.7
# Of the GPU's memory, what the engine takes; and in that, beside weights and cache.
SHARE = 0.9
WORKING_GB = 2.0
MAX_CONCURRENCY = 64


@dataclass(frozen=True, slots=True)
class Exchange:
    """Where documents and results are exchanged with the endpoint."""

    bucket: str
    prefix: str
    """Ends in a slash."""

    @property
    def input_prefix(self) -> str:
        return f"{self.prefix}in/"

    @property
    def output(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}out"

    def output_of(self, key: str, run: str, attempt: int) -> str:
        """Where the answer of one attempt will be."""
        return f"{self.output}/{extension_of(run, attempt)}/{key}"

    def failure_of(self, key: str, run: str, attempt: int) -> str:
        """How its failure's address will begin: nobody says how it ends."""
        return f"{self.failure}/{extension_of(run, attempt)}/{key}"

    @property
    def failure(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}failed"


def extension_of(run: str, attempt: int) -> str:
    """Below the output path: another attempt writes somewhere else, and so does another
    ledger, which would take old answers for its own."""
    return f"{run}/attempt-{attempt}"


def exchange_of(config: DeployConfig) -> Exchange:
    """Raises ConfigError where there is no bucket for it."""
    table = config.asynchronous
    if table.bucket is None:
        raise ConfigError(
            "asynchronous.bucket is not set: documents wait and results come in a "
            "bucket of yours",
            hint="set [asynchronous] bucket in chandra.toml, then chandra-sagemaker "
            "iam --create",
        )
    parts = (table.prefix.strip("/"), config.name)
    return Exchange(table.bucket, "".join(f"{part}/" for part in parts if part))


def async_name(config: DeployConfig) -> str:
    """What a deployment's asynchronous endpoint is called."""
    return f"{config.name}{SUFFIX}"


def async_config(config: DeployConfig, identity: Identity) -> DeployConfig:
    """The same deployment as its asynchronous endpoint sees it."""
    if len(config.name) + len(SUFFIX) > MAX_NAME:
        most = MAX_NAME - len(SUFFIX)
        raise ConfigError(
            f"name must have at most {most} characters for an asynchronous endpoint, "
            f"not {len(config.name)}",
            hint="a shorter name in chandra.toml",
        )
    return replace(
        config,
        name=async_name(config),
        role=config.role or identity.role_arn(config.role_name),
        endpoint=replace(config.endpoint, instance_count=1),
        # What SageMaker would copy lies in S3 already.
        capture=CaptureTable(),
    )


def async_endpoint_from(config: DeployConfig, identity: Identity) -> Endpoint:
    """What `async deploy` makes; `config` is the deployment's own."""
    exchange, table = exchange_of(config), config.asynchronous
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
        concurrency=table.concurrency or concurrency_of(config),
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


def concurrency_of(config: DeployConfig) -> int:
    """Documents a machine is given at once: as many of the largest pages as it holds.

    Of several types the smallest counts. A document of many pages fills the machine
    alone; this many keep it busy where each has one. Never fewer than two, so that one
    is decoded while another is read.
    """
    counts = []
    for name in config.endpoint.instance_types:
        known = INSTANCES.get(name)
        if known is None:
            continue
        free = known.gpu.memory_gb * SHARE - config.model.weights_gb - WORKING_GB
        counts.append(int(free / PAGE_GB) * known.num_gpus)
    return max(2, min([MAX_CONCURRENCY, *counts])) if counts else 2


def pages_in_time(config: DeployConfig) -> int | None:
    """Pages of each document that a machine reads before the timeout, sharing evenly.

    Of several types the slowest counts; None where nobody knows how fast they are.
    """
    table = config.asynchronous
    concurrency = table.concurrency or concurrency_of(config)
    rates = []
    for name in config.endpoint.instance_types:
        known = INSTANCES.get(name)
        rate = rate_of(known.gpu.name) if known else None
        if known is None or rate is None:
            return None
        rates.append(rate.together * known.num_gpus)
    return int(min(rates) * table.timeout_seconds / concurrency)
