"""Fixtures: a running emulator with moto as backend, and a scripted container."""

from __future__ import annotations

import io
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from deploy.aws import AWSClient
from deploy.cli import main
from deploy.console import Console
from deploy.emulator.account import EmulatedAccount
from deploy.emulator.backend import Backend
from deploy.emulator.emulator import Emulator, ServerProgram
from deploy.emulator.limits import Assumptions, SageMakerLimits
from deploy.emulator.process import build_archive, find_server_folder
from tests.deploy.emulator.containers import ScriptedContainer
from tests.deploy.images import publish

CLIENT_CREDENTIALS = {
    "aws_access_key_id": "testing",
    "aws_secret_access_key": "testing",
}
CREDENTIAL_VARIABLES = {
    name.upper(): value for name, value in CLIENT_CREDENTIALS.items()
}
"""The same credentials, as environment variables of a container."""
REGION = "us-east-1"
ROLE = "arn:aws:iam::123456789012:role/execution"
BUCKET = "documents"


class RunningEmulator:
    """Running emulator, with boto3 clients and the lines that it printed."""

    def __init__(
        self, emulator: Emulator, lines: list[str], backend: Backend | None = None
    ) -> None:
        self.instance = emulator
        self.backend = backend
        self.lines = lines
        self.address = emulator.address
        self._session = boto3.Session(region_name=REGION, **CLIENT_CREDENTIALS)
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._session.client(
                service,
                endpoint_url=self.address,
                config=Config(
                    read_timeout=120,
                    retries={"total_max_attempts": 1},
                    max_pool_connections=40,
                ),
            )
        return self._clients[service]

    @property
    def runtime(self) -> Any:
        return self.client("sagemaker-runtime")

    @property
    def sagemaker(self) -> Any:
        return self.client("sagemaker")

    def put_object(self, key: str, content: bytes, bucket: str = BUCKET) -> str:
        """Write an object, and return its s3:// address."""
        self.client("s3").put_object(Bucket=bucket, Key=key, Body=content)
        return f"s3://{bucket}/{key}"

    def get_object(self, uri: str) -> bytes | None:
        """Return the content of an object, or None if it does not exist."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        s3 = self.client("s3")
        try:
            return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        except s3.exceptions.NoSuchKey:
            return None

    def list_keys(self, prefix: str = "") -> list[str]:
        response = self.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for item in response.get("Contents", ())]

    def publish(self, *uris: str) -> None:
        """Push images to the registry, where a deployment looks for them."""
        publish(AWSClient(self._session, endpoint_url=self.address), *uris)

    def create_model(self, name: str = "ocr", **container: Any) -> str:
        """Create a model with more parameters of its container; return its name."""
        self.sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=ROLE,
            PrimaryContainer={"Image": "image:1", **container},
        )
        return name

    def create_endpoint(
        self,
        name: str = "ocr",
        *,
        model: dict[str, Any] | None = None,
        is_created: bool = True,
        **config: Any,
    ) -> str:
        """Create a model, an endpoint config, and an endpoint if `is_created`.

        `model` has parameters of the container, `config` of the endpoint config.
        Returns the name that all three have.
        """
        self.create_model(name, **(model or {}))
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic",
                    "ModelName": name,
                    "InstanceType": "ml.g6e.2xlarge",
                    "InitialInstanceCount": 1,
                }
            ],
            **config,
        )
        if is_created:
            self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        return name

    def create_async_endpoint(
        self,
        name: str = "ocr",
        *,
        concurrency: int | None = None,
        has_failure_path: bool = True,
        **topics: Any,
    ) -> str:
        """Create an asynchronous endpoint that writes to out/ and failed/.

        Without `has_failure_path`, failures are not stored. `topics` is its
        NotificationConfig. Returns the name.
        """
        output: dict[str, Any] = {"S3OutputPath": f"s3://{BUCKET}/out"}
        if has_failure_path:
            output["S3FailurePath"] = f"s3://{BUCKET}/failed"
        if topics:
            output["NotificationConfig"] = topics
        config: dict[str, Any] = {"OutputConfig": output}
        if concurrency:
            config["ClientConfig"] = {
                "MaxConcurrentInvocationsPerInstance": concurrency
            }
        return self.create_endpoint(name, AsyncInferenceConfig=config)

    def read_messages(self, group: str) -> dict[str, list[str]]:
        """Return the messages of a log group by stream; empty if there is no group."""
        logs = self.client("logs")
        messages: dict[str, list[str]] = {}
        try:
            events = logs.filter_log_events(logGroupName=group)["events"]
        except logs.exceptions.ResourceNotFoundException:
            return {}
        for event in events:
            messages.setdefault(event["logStreamName"], []).append(event["message"])
        return messages


@contextmanager
def run_emulator(
    account: EmulatedAccount,
    server: str | ServerProgram,
    *,
    limits: SageMakerLimits | None = None,
    assumptions: Assumptions | None = None,
) -> Iterator[RunningEmulator]:
    """Run an emulator with this account as its backend; close it at the end."""
    lines: list[str] = []
    backend = Backend(
        account.address,
        lambda region, url: AWSClient.connect(
            region=region, endpoint_url=url, credentials=CLIENT_CREDENTIALS
        ),
    )
    emulator = Emulator(
        backend,
        server=server,
        region=REGION,
        print_line=lines.append,
        limits=limits,
        assumptions=assumptions,
    )
    with closing(emulator):
        emulator.start()
        yield RunningEmulator(emulator, lines, backend)


def build_real_server(**environ: str) -> ServerProgram:
    """Return a program that starts the project's own server, with the embedded model.

    Builds the model archive. The server uses one thread.
    """
    folder = find_server_folder()
    build_archive(folder)
    return ServerProgram(
        folder,
        str(folder / "model-store" / "mini"),
        {"CHANDRA_CPU_THREADS": "1", **environ},
    )


def create_command_runner(
    emulator: RunningEmulator, config: Path, *, assume_yes: bool = False
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command line against the emulator.

    It returns the exit status, standard output and standard error.
    """
    session = boto3.Session(region_name=REGION, **CLIENT_CREDENTIALS)
    aws = AWSClient(session, endpoint_url=emulator.address, num_attempts=1)

    def run(*arguments: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        console = Console(
            as_json="--json" in arguments, assume_yes=assume_yes, out=out, err=err
        )
        status = main(
            [*arguments, "--config", str(config)],
            console=console,
            connect=lambda **_: aws,
            # Poll more often than against AWS.
            sleep=lambda seconds: time.sleep(min(seconds, 0.5)),
        )
        return status, out.getvalue(), err.getvalue()

    return run


@pytest.fixture(scope="session")
def account() -> Iterator[EmulatedAccount]:
    """Account for all tests; `start_emulator` resets it before each test."""
    moto = EmulatedAccount()
    yield moto
    moto.close()


@pytest.fixture
def container() -> Iterator[ScriptedContainer]:
    scripted = ScriptedContainer()
    yield scripted
    scripted.close()


@pytest.fixture
def start_emulator(
    account: EmulatedAccount,
) -> Iterator[Callable[..., RunningEmulator]]:
    """Reset the account; return a function that starts an emulator.

    The function also creates a bucket. The emulators are closed after the test.
    """
    urllib.request.urlopen(f"{account.address}/moto-api/reset", data=b"").close()
    with ExitStack() as stack:

        def run(
            server: str | ServerProgram,
            limits: SageMakerLimits | None = None,
            assumptions: Assumptions | None = None,
        ) -> RunningEmulator:
            running = run_emulator(
                account, server, limits=limits, assumptions=assumptions
            )
            emulator = stack.enter_context(running)
            emulator.client("s3").create_bucket(Bucket=BUCKET)
            return emulator

        yield run


@pytest.fixture
def emulator(
    start_emulator: Callable[..., RunningEmulator], container: ScriptedContainer
) -> RunningEmulator:
    """Running emulator with SageMaker's limits and the scripted container."""
    return start_emulator(
        container.address, assumptions=Assumptions(retry_seconds=0.01)
    )
