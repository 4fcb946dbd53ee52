"""One SageMaker on loopback, with a bucket, a queue and the real server."""

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
from deploy.queue.endpoint import async_config, exchange_of
from tests.deploy.accounts import IDENTITY, IMAGE
from tests.deploy.emulator.conftest import (
    CREDENTIALS,
    KEYS,
    REGION,
    emulating,
    real_server,
)

__all__ = ["Cloud", "running"]

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
    # Pages read in company are added up in another order, and in bfloat16 that can
    # be another letter. One by one and without drafts each has one answer.
    "CHANDRA_MAX_SEQUENCES": "1",
    "CHANDRA_DRAFT_TOKENS": "none",
    # A page that repeats itself would be read again, with chance.
    "CHANDRA_MAX_ATTEMPTS": "1",
    "CHANDRA_MAX_OUTPUT_TOKENS": "60",
}
NUM_AT_ONCE = 4


class Cloud:
    """What a test needs to know of it."""

    def __init__(self, emulator: Emulator, lines: list[str], config: Path) -> None:
        self.address = emulator.address
        self.lines = lines
        self.config_path = config
        self.config: DeployConfig = read_config(config)
        self._emulator = emulator
        self._session = boto3.Session(region_name=REGION, **KEYS)

    def client(self, service: str) -> Any:
        return self._session.client(service, endpoint_url=self.address)

    def keys(self, prefix: str) -> list[str]:
        pages = self.client("s3").get_paginator("list_objects_v2")
        return [
            item["Key"]
            for page in pages.paginate(Bucket=BUCKET, Prefix=prefix)
            for item in page.get("Contents", ())
        ]

    def read(self, key: str) -> bytes:
        answer = self.client("s3").get_object(Bucket=BUCKET, Key=key)
        content: bytes = answer["Body"].read()
        return content

    def empty(self, prefix: str) -> None:
        s3 = self.client("s3")
        for key in self.keys(prefix):
            s3.delete_object(Bucket=BUCKET, Key=key)

    def container(self) -> int | None:
        """The first process of the server that runs now."""
        for each in self._emulator.fleet.list_containers():
            if isinstance(each, ManagedContainer) and each.pid is not None:
                return each.pid
        return None

    def make_queue(self) -> None:
        """What `async deploy` makes, without its scaling; twice changes nothing."""
        name = async_config(self.config, IDENTITY).name
        exchange = exchange_of(self.config)
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
                "ClientConfig": {"MaxConcurrentInvocationsPerInstance": NUM_AT_ONCE},
            },
        )
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)


@contextmanager
def running(folder: Path) -> Iterator[Cloud]:
    """From start to end; `folder` is for chandra.toml."""
    config = folder / "chandra.toml"
    config.write_text(CONFIG)
    server = real_server(**SERVER, **CREDENTIALS)
    with closing(EmulatedAccount()) as account, emulating(account, server) as local:
        cloud = Cloud(local.emulator, local.lines, config)
        cloud.client("s3").create_bucket(Bucket=BUCKET)
        # The servers have their own; a job is not started without.
        local.publish(IMAGE)
        cloud.client("s3").put_object(Bucket=BUCKET, Key=WEIGHTS, Body=b"mini")
        yield cloud
