"""Sample resources in a new account, so that a first document needs no deployment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from deploy.config import AsynchronousTable, DeployConfig
from deploy.emulator.backend import Backend
from deploy.image.manifest import DOCKER
from deploy.queue.endpoint import Exchange, get_exchange
from deploy.resources import OWNER_TAG, tag_list

__all__ = ["SampleResources", "create_samples"]

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/local"
INSTANCE = "ml.g6e.2xlarge"
REPOSITORY = "local"
DIGEST = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True)
class SampleResources:
    """Names of the sample resources."""

    endpoint: str
    async_endpoint: str
    batch_model: str
    bucket: str

    @property
    def exchange(self) -> Exchange:
        """Locations in S3 that the `async` commands use."""
        table = AsynchronousTable(bucket=self.bucket)
        return get_exchange(DeployConfig(name=self.endpoint, asynchronous=table))

    def format_settings(self, region: str) -> str:
        """Return the text of a chandra.toml for the sample resources."""
        return f"""\
# For `chandra-sagemaker local` only: image and weights are fictitious.
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

    def describe(self) -> list[str]:
        """Return a description of the sample resources, one per line."""
        return [
            f"endpoint {self.endpoint}: real time",
            f"endpoint {self.async_endpoint}: asynchronous, to " + self.exchange.output,
            f"model {self.batch_model}: for transform jobs",
            f"bucket {self.bucket}: empty",
        ]


def create_samples(backend: Backend, region: str, name: str) -> SampleResources:
    """Create a bucket, an endpoint of each kind, and a model for batch transform.

    The names of all resources start with `name`.
    """
    names = SampleResources(name, f"{name}-async", f"{name}-batch", f"{name}-local")
    location = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    backend.call(
        region,
        "s3",
        "create_bucket",
        Bucket=names.bucket,
        **({} if region == "us-east-1" else location),
    )
    _create_repository(backend, region)
    _create_model(backend, region, names, names.batch_model, "batch", owner=name)
    _create_endpoint(backend, region, names, names.endpoint, "realtime")
    output = {
        "S3OutputPath": names.exchange.output,
        "S3FailurePath": names.exchange.failure,
    }
    asynchronous = {"AsyncInferenceConfig": {"OutputConfig": output}}
    _create_endpoint(
        backend, region, names, names.async_endpoint, "async", **asynchronous
    )
    return names


def _create_repository(backend: Backend, region: str) -> None:
    """Create the ECR repository with an image, which `deploy` and `update` check for.

    The image has no layers.
    """
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


def _create_endpoint(
    backend: Backend,
    region: str,
    names: SampleResources,
    name: str,
    use: str,
    **config: Any,
) -> None:
    """Create an endpoint, its config and its model, with the tags of a deployment.

    `deploy` and `async deploy` tag them with the name of the endpoint too.
    """
    tags = tag_list({OWNER_TAG: name})
    _create_model(backend, region, names, name, use, owner=name)
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


def _create_model(
    backend: Backend,
    region: str,
    names: SampleResources,
    name: str,
    use: str,
    *,
    owner: str,
) -> None:
    backend.call(
        region,
        "sagemaker",
        "create_model",
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": f"{ACCOUNT}.dkr.ecr.{region}.amazonaws.com/{REPOSITORY}:local",
            # The containers have a network, and may read the bucket.
            "Environment": {"SERVE_USE": use, "DOCUMENT_BUCKETS": names.bucket},
        },
        Tags=tag_list({OWNER_TAG: owner}),
    )
