"""Client of the backend: endpoints and models, S3 objects, SNS topics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.aws import AWSClient
from deploy.errors import DeployError, NotFoundError
from deploy.plan.actions import Call

__all__ = ["AsyncConfig", "Backend", "HostedEndpoint", "S3Uri", "get_environment"]

CACHE_SECONDS = 5.0
VARIANT = "AllTraffic"
SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class S3Uri:
    """Location in S3: a bucket with a key or a key prefix."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> S3Uri:
        """Parse `s3://bucket/key`; raises ValueError for other text."""
        # URL parsers do not fit: a key may contain ? and #, and start with a slash.
        bucket, _, key = text.removeprefix(SCHEME).partition("/")
        if not text.startswith(SCHEME) or not bucket:
            raise ValueError(f"{text} is not an S3 URI (s3://bucket/key)")
        return cls(bucket, key)

    def __truediv__(self, name: str) -> S3Uri:
        """Return the location of `name` below this key, separated by one slash."""
        start = self.key.rstrip("/")
        return S3Uri(self.bucket, f"{start}/{name}" if start else name)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class AsyncConfig:
    """AsyncInferenceConfig of an endpoint config."""

    output: S3Uri
    failure: S3Uri | None
    success_topic: str | None
    error_topic: str | None
    topics_with_response: tuple[str, ...]
    concurrency: int | None

    @classmethod
    def from_request(cls, table: Mapping[str, Any]) -> AsyncConfig:
        """Parse the AsyncInferenceConfig of an endpoint config.

        Raises DeployError if it has no S3OutputPath, and ValueError if a path is not an
        S3 URI.
        """
        output = table["OutputConfig"]
        if "S3OutputPath" not in output:
            # SageMaker chooses a default bucket, which the emulator does not have.
            raise DeployError(
                "AsyncInferenceConfig has no S3OutputPath",
                hint="set S3OutputPath to a bucket",
            )
        topics = output.get("NotificationConfig") or {}
        failure = output.get("S3FailurePath")
        client = table.get("ClientConfig") or {}
        return cls(
            output=S3Uri.parse(output["S3OutputPath"]),
            failure=S3Uri.parse(failure) if failure else None,
            success_topic=topics.get("SuccessTopic"),
            error_topic=topics.get("ErrorTopic"),
            topics_with_response=tuple(topics.get("IncludeInferenceResponseIn") or ()),
            concurrency=client.get("MaxConcurrentInvocationsPerInstance"),
        )


@dataclass(frozen=True, slots=True)
class HostedEndpoint:
    """Endpoint as the backend describes it, with its config and model.

    `config`, `variant` and `model` are names. `created` is in seconds since 1970.
    `environment` are the variables that CreateModel set.
    """

    name: str
    region: str
    account: str
    config: str
    created: float
    variant: str
    model: str
    environment: Mapping[str, str] = field(default_factory=dict)
    startup_seconds: float | None = None
    asynchronous: AsyncConfig | None = None


class Backend:
    """Client of the server that stores the account's resources.

    `connect` returns a client for a region and an endpoint URL. `s3_url` selects a
    different server for S3. Methods raise DeployError, as AWSClient does.
    """

    def __init__(
        self,
        url: str,
        connect: Callable[[str, str], AWSClient],
        *,
        s3_url: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self.s3_url = s3_url or url
        self._connect = connect
        self._clock = clock
        self._lock = threading.RLock()
        self._clients: dict[tuple[str, str], AWSClient] = {}
        self._cached: dict[tuple[str, str], tuple[float, HostedEndpoint | None]] = {}

    def get_client(self, region: str, service: str) -> AWSClient:
        """Return the client of a region and service, creating it at the first call.

        Creating boto3 clients is not thread-safe, so it happens under the lock.
        """
        url = self.s3_url if service == "s3" else self.url
        with self._lock:
            client = self._clients.get((region, url))
            if client is None:
                client = self._clients[region, url] = self._connect(region, url)
            client.client(service)
        return client

    def call(
        self, region: str, service: str, operation: str, **params: Any
    ) -> dict[str, Any]:
        """Call an operation of a boto3 client, such as `put_object`; return its
        response."""
        return self.get_client(region, service).call(service, operation, **params)

    def find_violations(
        self,
        region: str,
        operation: str,
        params: Mapping[str, Any],
        *,
        service: str = "sagemaker-runtime",
    ) -> list[str]:
        """Return the parameters' violations of AWS's service model, as sentences."""
        call = Call(service, operation, params, "")
        return self.get_client(region, call.service).violations(call)

    def clear_cache(self) -> None:
        """Drop cached endpoints, because a request may have changed them."""
        with self._lock:
            self._cached.clear()

    def find_endpoint(self, region: str, name: str) -> HostedEndpoint | None:
        """Return an endpoint, or None if it does not exist.

        The result is cached for CACHE_SECONDS.
        """
        with self._lock:
            entry = self._cached.get((region, name))
        if entry is not None and self._clock() - entry[0] < CACHE_SECONDS:
            return entry[1]
        endpoint = self._describe(region, name)
        with self._lock:
            self._cached[region, name] = (self._clock(), endpoint)
        return endpoint

    def _describe(self, region: str, name: str) -> HostedEndpoint | None:
        try:
            endpoint = self.call(
                region, "sagemaker", "describe_endpoint", EndpointName=name
            )
            config = self.call(
                region,
                "sagemaker",
                "describe_endpoint_config",
                EndpointConfigName=endpoint["EndpointConfigName"],
            )
        except NotFoundError:
            return None
        variant = config["ProductionVariants"][0]
        model = self.find_model(region, variant["ModelName"])
        asynchronous = config.get("AsyncInferenceConfig")
        return HostedEndpoint(
            name=name,
            region=region,
            account=str(endpoint["EndpointArn"]).split(":")[4],
            config=endpoint["EndpointConfigName"],
            created=endpoint["CreationTime"].timestamp(),
            variant=variant.get("VariantName", VARIANT),
            model=variant["ModelName"],
            environment=get_environment(model),
            startup_seconds=variant.get("ContainerStartupHealthCheckTimeoutInSeconds"),
            asynchronous=AsyncConfig.from_request(asynchronous)
            if asynchronous
            else None,
        )

    def find_model(self, region: str, name: str) -> dict[str, Any] | None:
        """Return the description of a model, or None if it does not exist."""
        try:
            return self.call(region, "sagemaker", "describe_model", ModelName=name)
        except NotFoundError:
            return None

    def list_keys(self, region: str, uri: S3Uri) -> Iterator[str]:
        """Yield the keys of all objects whose keys start with that of `uri`."""
        objects = self.get_client(region, "s3").objects(uri.bucket, uri.key)
        yield from (str(item["Key"]) for item in objects)

    def open_object(self, region: str, uri: S3Uri) -> tuple[Any, int]:
        """Return the body of an object as a file, and its size in bytes."""
        response = self.call(region, "s3", "get_object", Bucket=uri.bucket, Key=uri.key)
        return response["Body"], int(response["ContentLength"])

    def put_object(
        self, region: str, uri: S3Uri, content: Any, content_type: str | None = None
    ) -> None:
        """Write an object; `content` is bytes or a seekable file."""
        extra = {"ContentType": content_type} if content_type else {}
        self.call(
            region,
            "s3",
            "put_object",
            Bucket=uri.bucket,
            Key=uri.key,
            Body=content,
            **extra,
        )

    def publish(self, topic: str, message: str) -> str | None:
        """Publish to an SNS topic; return an error message, or None on success."""
        try:
            region = topic.split(":")[3]
            self.call(region, "sns", "publish", TopicArn=topic, Message=message)
        except DeployError as error:
            return error.message
        return None


def get_environment(model: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the environment that CreateModel set for the first container.

    It is empty if `model` is None.
    """
    containers = [(model or {}).get("PrimaryContainer")]
    containers += (model or {}).get("Containers") or []
    first: Mapping[str, Any] = next((c for c in containers if c), {})
    return dict(first.get("Environment") or {})
