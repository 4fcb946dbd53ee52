"""What is there from the start, so that a first document needs no deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploy.local.backend import Backend
from deploy.resources import OWNER_TAG, tag_list

__all__ = ["Seed", "seed"]

ROLE = "arn:aws:iam::123456789012:role/local"
INSTANCE = "ml.g6e.2xlarge"


@dataclass(frozen=True, slots=True)
class Seed:
    """Names of what was made."""

    endpoint: str
    async_endpoint: str
    batch_model: str
    bucket: str

    def lines(self) -> list[str]:
        return [
            f"endpoint {self.endpoint}: real time",
            f"endpoint {self.async_endpoint}: asynchronous, to "
            f"s3://{self.bucket}/async/out",
            f"model {self.batch_model}: for transform jobs",
            f"bucket {self.bucket}: empty",
        ]


def seed(backend: Backend, region: str, name: str) -> Seed:
    """A bucket, an endpoint of each kind, and a model for jobs; `name` owns them."""
    made = Seed(name, f"{name}-async", f"{name}-batch", f"{name}-local")
    elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    backend.call(
        region,
        "s3",
        "create_bucket",
        Bucket=made.bucket,
        **({} if region == "us-east-1" else elsewhere),
    )
    _model(backend, region, made.batch_model, "batch", name)
    _endpoint(backend, region, made.endpoint, "realtime", name)
    output = {
        "S3OutputPath": f"s3://{made.bucket}/async/out",
        "S3FailurePath": f"s3://{made.bucket}/async/failed",
    }
    asynchronous = {"AsyncInferenceConfig": {"OutputConfig": output}}
    _endpoint(backend, region, made.async_endpoint, "async", name, **asynchronous)
    return made


def _endpoint(
    backend: Backend, region: str, name: str, use: str, owner: str, **config: Any
) -> None:
    tags = tag_list({OWNER_TAG: owner})
    _model(backend, region, name, use, owner)
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


def _model(backend: Backend, region: str, name: str, use: str, owner: str) -> None:
    backend.call(
        region,
        "sagemaker",
        "create_model",
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": f"123456789012.dkr.ecr.{region}.amazonaws.com/local:local",
            "Environment": {"SERVE_USE": use},
        },
        Tags=tag_list({OWNER_TAG: owner}),
    )
