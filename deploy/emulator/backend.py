"""What the backend holds for us: endpoints and models, objects, topics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.aws import AWSClient
from deploy.errors import DeployError, NotFoundError
from deploy.plan.actions import Call

__all__ = ["AsyncConfig", "Backend", "Hosted", "S3Uri", "environment_of"]

KEEP_SECONDS = 5.0
VARIANT = "AllTraffic"
SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class S3Uri:
    """A bucket and a key, or the beginning of keys."""

    bucket: str
    key: str

    @classmethod
    def of(cls, text: str) -> S3Uri:
        # A key may hold what a URL has a meaning for, and begin with a slash.
        bucket, _, key = text.removeprefix(SCHEME).partition("/")
        if not text.startswith(SCHEME) or not bucket:
            raise ValueError(f"{text} is no s3://bucket/key")
        return cls(bucket, key)

    def __truediv__(self, name: str) -> S3Uri:
        start = self.key.rstrip("/")
        return S3Uri(self.bucket, f"{start}/{name}" if start else name)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class AsyncConfig:
    """An endpoint config's AsyncInferenceConfig."""

    output: S3Uri
    failure: S3Uri | None
    success_topic: str | None
    error_topic: str | None
    topics_with_response: tuple[str, ...]
    concurrency: int | None

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> AsyncConfig:
        output = table["OutputConfig"]
        if "S3OutputPath" not in output:
            # SageMaker chooses a bucket; here is none that it could be.
            raise DeployError(
                "AsyncInferenceConfig has no S3OutputPath", hint="name a bucket there"
            )
        topics = output.get("NotificationConfig") or {}
        failure = output.get("S3FailurePath")
        client = table.get("ClientConfig") or {}
        return cls(
            output=S3Uri.of(output["S3OutputPath"]),
            failure=S3Uri.of(failure) if failure else None,
            success_topic=topics.get("SuccessTopic"),
            error_topic=topics.get("ErrorTopic"),
            topics_with_response=tuple(topics.get("IncludeInferenceResponseIn") or ()),
            concurrency=client.get("MaxConcurrentInvocationsPerInstance"),
        )


@dataclass(frozen=True, slots=True)
class Hosted:
    """An endpoint as the backend describes it."""

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
    """One account. Raises DeployError as AWSClient does.

    `connect` gives a client for a region and an address; `s3_url` is another server
    for objects alone.
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
        self._hosted: dict[tuple[str, str], tuple[float, Hosted | None]] = {}

    def aws(self, region: str, service: str) -> AWSClient:
        """A client whose boto3 client of that service is made: making is not safe."""
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
        return self.aws(region, service).call(service, operation, **params)

    # SageMaker

    def violations(
        self,
        region: str,
        operation: str,
        params: Mapping[str, Any],
        *,
        service: str = "sagemaker-runtime",
    ) -> list[str]:
        """Return what AWS's model of an operation does not allow, as sentences."""
        call = Call(service, operation, params, "")
        return self.aws(region, call.service).violations(call)

    def forget(self) -> None:
        """Something may have changed."""
        with self._lock:
            self._hosted.clear()

    def hosted(self, region: str, name: str) -> Hosted | None:
        """An endpoint; None where there is none. Asked again after some seconds."""
        with self._lock:
            known = self._hosted.get((region, name))
        if known is not None and self._clock() - known[0] < KEEP_SECONDS:
            return known[1]
        found = self._find(region, name)
        with self._lock:
            self._hosted[region, name] = (self._clock(), found)
        return found

    def _find(self, region: str, name: str) -> Hosted | None:
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
        model = self.model(region, variant["ModelName"])
        asynchronous = config.get("AsyncInferenceConfig")
        return Hosted(
            name=name,
            region=region,
            account=str(endpoint["EndpointArn"]).split(":")[4],
            config=endpoint["EndpointConfigName"],
            created=endpoint["CreationTime"].timestamp(),
            variant=variant.get("VariantName", VARIANT),
            model=variant["ModelName"],
            environment=environment_of(model),
            startup_seconds=variant.get("ContainerStartupHealthCheckTimeoutInSeconds"),
            asynchronous=AsyncConfig.of(asynchronous) if asynchronous else None,
        )

    def model(self, region: str, name: str) -> dict[str, Any] | None:
        try:
            return self.call(region, "sagemaker", "describe_model", ModelName=name)
        except NotFoundError:
            return None

    # S3

    def keys(self, region: str, place: S3Uri) -> Iterator[str]:
        """Of all objects whose key begins so."""
        found = self.aws(region, "s3").objects(place.bucket, place.key)
        yield from (str(item["Key"]) for item in found)

    def open(self, region: str, place: S3Uri) -> tuple[Any, int]:
        """A file to read an object from, and its size."""
        answer = self.call(
            region, "s3", "get_object", Bucket=place.bucket, Key=place.key
        )
        return answer["Body"], int(answer["ContentLength"])

    def put(
        self, region: str, place: S3Uri, content: Any, content_type: str | None = None
    ) -> None:
        """`content` is bytes or a file that can be rewound."""
        extra = {"ContentType": content_type} if content_type else {}
        self.call(
            region,
            "s3",
            "put_object",
            Bucket=place.bucket,
            Key=place.key,
            Body=content,
            **extra,
        )

    # SNS

    def publish(self, topic: str, message: str) -> str | None:
        """What went wrong; None where nothing did."""
        try:
            region = topic.split(":")[3]
            self.call(region, "sns", "publish", TopicArn=topic, Message=message)
        except DeployError as error:
            return error.message
        return None


def environment_of(model: Mapping[str, Any] | None) -> dict[str, str]:
    """What CreateModel sets."""
    containers = [(model or {}).get("PrimaryContainer")]
    containers += (model or {}).get("Containers") or []
    first: Mapping[str, Any] = next((c for c in containers if c), {})
    return dict(first.get("Environment") or {})
