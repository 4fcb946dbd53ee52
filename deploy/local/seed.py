"""What is there from the start, so that a first document needs no deployment."""

from __future__ import annotations

from deploy.local.backend import Backend

__all__ = ["seed"]

ROLE = "arn:aws:iam::123456789012:role/local"
INSTANCE = "ml.g6e.2xlarge"


def seed(backend: Backend, region: str, name: str) -> dict[str, str]:
    """A bucket, and an endpoint of each kind; what each is, by name."""
    bucket = f"{name}-local"
    place = (
        {}
        if region == "us-east-1"
        else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    )
    backend.call(region, "s3", "create_bucket", Bucket=bucket, **place)
    output = {
        "OutputConfig": {
            "S3OutputPath": f"s3://{bucket}/async/out",
            "S3FailurePath": f"s3://{bucket}/async/failed",
        }
    }
    endpoints = {}
    for endpoint, use, extra in (
        (name, "realtime", {}),
        (f"{name}-async", "async", {"AsyncInferenceConfig": output}),
        (f"{name}-batch", "batch", None),
    ):
        backend.call(
            region,
            "sagemaker",
            "create_model",
            ModelName=endpoint,
            ExecutionRoleArn=ROLE,
            PrimaryContainer={
                "Image": f"123456789012.dkr.ecr.{region}.amazonaws.com/local:local",
                "Environment": {"SERVE_USE": use},
            },
        )
        if extra is None:
            endpoints[endpoint] = "no endpoint but a model, for transform jobs"
            continue
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": endpoint,
            "InstanceType": INSTANCE,
            "InitialInstanceCount": 1,
        }
        backend.call(
            region,
            "sagemaker",
            "create_endpoint_config",
            EndpointConfigName=endpoint,
            ProductionVariants=[variant],
            **extra,
        )
        backend.call(
            region,
            "sagemaker",
            "create_endpoint",
            EndpointName=endpoint,
            EndpointConfigName=endpoint,
        )
        endpoints[endpoint] = (
            f"asynchronous, s3://{bucket}/async/out" if extra else "real time"
        )
    return endpoints
