"""What is there from the start, so that a first document needs no deployment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from deploy.config import AsynchronousTable, DeployConfig
from deploy.emulator.backend import Backend
from deploy.image.manifest import DOCKER
from deploy.queue.endpoint import Exchange, exchange_of
from deploy.resources import OWNER_TAG, tag_list

__all__ = ["Seed", "seed"]

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/local"
INSTANCE = "ml.g6e.2xlarge"
REPOSITORY = "local"
DIGEST = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True)
class Seed:
    """Names of what was made."""

    endpoint: str
    async_endpoint: str
    batch_model: str
    bucket: str

    @property
    def exchange(self) -> Exchange:
        """Where `async` looks for it."""
        table = AsynchronousTable(bucket=self.bucket)
        return exchange_of(DeployConfig(name=self.endpoint, asynchronous=table))

    def settings(self, region: str) -> str:
        """A chandra.toml with which every command reaches what was made."""
        return f"""\
# For `chandra-sagemaker local`, and for nothing else: image and weights are made up.
name = "{self.endpoint}"
region = "{region}"

[image]
uri = "{ACCOUNT}.dkr.ecr.{region}.amazonaws.com/{REPOSITORY}@{DIGEST}"

[model]
bucket = "{self.bucket}"
source = "hub"
revision = "local"

[network]
isolation = false

[asynchronous]
bucket = "{self.bucket}"
sources = ["{self.bucket}"]

[transform]
buckets = ["{self.bucket}"]
"""

    def lines(self) -> list[str]:
        return [
            f"endpoint {self.endpoint}: real time",
            f"endpoint {self.async_endpoint}: asynchronous, to " + self.exchange.output,
            f"model {self.batch_model}: for transform jobs",
            f"bucket {self.bucket}: empty",
        ]


def seed(backend: Backend, region: str, name: str) -> Seed:
    """A bucket, an endpoint of each kind, and a model for jobs; `name` owns them."""
    made = Seed(name, f"{name}-async", f"{name}-batch", _bucket_of(name))
    elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    backend.call(
        region,
        "s3",
        "create_bucket",
        Bucket=made.bucket,
        **({} if region == "us-east-1" else elsewhere),
    )
    _image(backend, region)
    _model(backend, region, made, made.batch_model, "batch", owner=name)
    _endpoint(backend, region, made, made.endpoint, "realtime")
    output = {
        "S3OutputPath": made.exchange.output,
        "S3FailurePath": made.exchange.failure,
    }
    asynchronous = {"AsyncInferenceConfig": {"OutputConfig": output}}
    _endpoint(backend, region, made, made.async_endpoint, "async", **asynchronous)
    return made


def _bucket_of(name: str) -> str:
    """Its documents and results."""
    return f"{name}-local"


def _image(backend: Backend, region: str) -> None:
    """Nobody starts it; `deploy` and `update` look whether it is there."""
    backend.call(region, "ecr", "create_repository", repositoryName=REPOSITORY)
    backend.call(
        region,
        "ecr",
        "put_image",
        repositoryName=REPOSITORY,
        imageManifest=json.dumps({"schemaVersion": 2, "layers": []}),
        imageManifestMediaType=DOCKER,
        imageDigest=DIGEST,
        imageTag="local",
    )


def _endpoint(
    backend: Backend, region: str, made: Seed, name: str, use: str, **config: Any
) -> None:
    """As `deploy` and `async deploy` tag them: each owns what is called after it."""
    tags = tag_list({OWNER_TAG: name})
    _model(backend, region, made, name, use, owner=name)
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": name,
        "InstanceType": INSTANCE,
        "InitialInstanceCount": 1,
    }
    backend.call(
        region,
        "sagemaker",
        "create_endpoint_config",
        EndpointConfigName=name,
        ProductionVariants=[variant],
        Tags=tags,
        **config,
    )
    backend.call(
        region,
        "sagemaker",
        "create_endpoint",
        EndpointName=name,
        EndpointConfigName=name,
        Tags=tags,
    )


def _model(
    backend: Backend, region: str, made: Seed, name: str, use: str, *, owner: str
) -> None:
    backend.call(
        region,
        "sagemaker",
        "create_model",
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": f"{ACCOUNT}.dkr.ecr.{region}.amazonaws.com/{REPOSITORY}:local",
            # With a network, and rights to what there is.
            "Environment": {"SERVE_USE": use, "DOCUMENT_BUCKETS": made.bucket},
        },
        Tags=tag_list({OWNER_TAG: owner}),
    )
