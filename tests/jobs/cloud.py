"""Emulated account with a bucket, an asynchronous endpoint and the real server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import boto3

from deploy.config import DeployConfig, read_config
from deploy.emulator.account import EmulatedAccount
from deploy.emulator.containers import ManagedContainer
from deploy.emulator.emulator import Emulator
from deploy.queue.endpoint import async_config, get_exchange
from tests.deploy.accounts import IDENTITY, IMAGE
from tests.deploy.emulator.conftest import (
    CLIENT_CREDENTIALS,
    CREDENTIAL_VARIABLES,
    REGION,
    build_real_server,
    run_emulator,
)

__all__ = ["Cloud", "run_cloud"]

BUCKET = "exchange"
CONFIG = f"""
name = "reading"
region = "{REGION}"
[image]
uri = "{IMAGE}"
[model]
bucket = "{BUCKET}"
revision = "0123abc"
[asynchronous]
bucket = "{BUCKET}"
[transform]
buckets = ["{BUCKET}"]
invocation_retries = 3
"""
WEIGHTS = "models/datalab-to/chandra/0123abc.tar.gz"
SERVER = {
    # Results must not depend on timing. In a batch, sums have another order, which in
    # bfloat16 can change a letter. So pages are read singly, without draft tokens.
    "CHANDRA_MAX_SEQUENCES": "1",
    "CHANDRA_DRAFT_TOKENS": "none",
    # A second attempt at a page with repetitions samples randomly.
    "CHANDRA_MAX_ATTEMPTS": "1",
    "CHANDRA_MAX_OUTPUT_TOKENS": "60",
}
CONCURRENCY = 4


class Cloud:
    """Running emulator, with access to its objects and processes."""

    def __init__(self, emulator: Emulator, lines: list[str], config: Path) -> None:
        self.address = emulator.address
        self.lines = lines
        self.config_path = config
        self.config: DeployConfig = read_config(config)
        self._emulator = emulator
        self._session = boto3.Session(region_name=REGION, **CLIENT_CREDENTIALS)

    def client(self, service: str) -> Any:
        """Return a boto3 client of the emulator."""
        return self._session.client(service, endpoint_url=self.address)

    def list_keys(self, prefix: str) -> list[str]:
        """Return the keys of the bucket's objects with this prefix."""
        pages = self.client("s3").get_paginator("list_objects_v2")
        return [
            item["Key"]
            for page in pages.paginate(Bucket=BUCKET, Prefix=prefix)
            for item in page.get("Contents", ())
        ]

    def read_object(self, key: str) -> bytes:
        answer = self.client("s3").get_object(Bucket=BUCKET, Key=key)
        content: bytes = answer["Body"].read()
        return content

    def delete_objects(self, prefix: str) -> None:
        s3 = self.client("s3")
        for key in self.list_keys(prefix):
            s3.delete_object(Bucket=BUCKET, Key=key)

    def find_server(self) -> int | None:
        """Return the process id of the running server, or None."""
        for container in self._emulator.fleet.list_containers():
            if isinstance(container, ManagedContainer) and container.pid is not None:
                return container.pid
        return None

    def create_queue(self) -> None:
        """Create the endpoint of `async deploy` without scaling; idempotent."""
        name = async_config(self.config, IDENTITY).name
        exchange = get_exchange(self.config)
        sagemaker = self.client("sagemaker")
        if sagemaker.list_endpoints(NameContains=name)["Endpoints"]:
            return
        sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=IDENTITY.role_arn("execution"),
            PrimaryContainer={"Image": IMAGE, "Environment": {"SERVE_USE": "async"}},
        )
        sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic",
                    "ModelName": name,
                    "InstanceType": "ml.g6e.2xlarge",
                    "InitialInstanceCount": 1,
                }
            ],
            AsyncInferenceConfig={
                "OutputConfig": {
                    "S3OutputPath": exchange.output,
                    "S3FailurePath": exchange.failure,
                },
                "ClientConfig": {"MaxConcurrentInvocationsPerInstance": CONCURRENCY},
            },
        )
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)


@contextmanager
def run_cloud(folder: Path) -> Iterator[Cloud]:
    """Run an emulator; `folder` is where chandra.toml is written."""
    config = folder / "chandra.toml"
    config.write_text(CONFIG)
    server = build_real_server(**SERVER, **CREDENTIAL_VARIABLES)
    with closing(EmulatedAccount()) as account, run_emulator(account, server) as local:
        cloud = Cloud(local.instance, local.lines, config)
        cloud.client("s3").create_bucket(Bucket=BUCKET)
        # The commands require image and weights. The servers do not load them.
        local.publish(IMAGE)
        cloud.client("s3").put_object(Bucket=BUCKET, Key=WEIGHTS, Body=b"mini")
        yield cloud
