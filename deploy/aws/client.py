"""Client of one AWS account: calls through boto3, with its errors translated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

from deploy.aws.faults import deploy_error_from, sdk_errors
from deploy.aws.validation import request_part, violations
from deploy.errors import (
    AlreadyExistsError,
    ConfigError,
    NotFoundError,
    ResourceFailedError,
)
from deploy.plan.actions import Call
from deploy.resources import Identity

if TYPE_CHECKING:
    # Imported at run time where they are needed: boto3 takes half a second, and help
    # and completion need none of it.
    import boto3
    from botocore.config import Config

__all__ = ["INVOKE_SECONDS", "STREAM_SECONDS", "AWSClient"]

# SageMaker allows 60 s for an answer and 8 minutes for a stream, which may pause. There
# is one attempt only, because a second one would pay for the same pages again.
INVOKE_SECONDS = 70
STREAM_SECONDS = 490
NUM_ATTEMPTS = 5


class AWSClient:
    """Client of an account and region.

    Its methods raise DeployError in place of the errors of botocore.
    """

    def __init__(
        self,
        session: boto3.Session,
        *,
        endpoint_url: str | None = None,
        num_attempts: int = NUM_ATTEMPTS,
        region: str | None = None,
    ) -> None:
        """Use the session's credentials, and its region if `region` is None.

        `endpoint_url` is the address of an AWS-compatible server, which replaces that
        of every service.
        """
        from botocore.config import Config

        self._session = session
        self._endpoint_url = endpoint_url
        self._num_attempts = num_attempts
        self._region = region
        self._elsewhere: dict[str, Self] = {}
        self._control = Config(
            connect_timeout=10,
            retries={"mode": "standard", "total_max_attempts": num_attempts},
            # Only hosts of AWS resolve with the name of a bucket in front of them.
            s3={"addressing_style": "path"} if endpoint_url else None,
        )
        self._clients: dict[tuple[str, bool], Any] = {}
        self._identity: Identity | None = None

    @classmethod
    def connect(
        cls,
        *,
        profile: str | None = None,
        region: str | None = None,
        endpoint_url: str | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> AWSClient:
        """Return a client with the credentials that boto3 finds.

        `credentials` are arguments of boto3.Session, which replace those of the
        profile. Raises ConfigError if the profile does not exist.
        """
        import boto3

        try:
            session = boto3.Session(
                profile_name=profile, region_name=region, **(credentials or {})
            )
        except sdk_errors() as error:
            raise deploy_error_from(error, "reading the AWS profile") from error
        return cls(session, endpoint_url=endpoint_url)

    @property
    def region(self) -> str | None:
        region: str | None = self._region or self._session.region_name
        return region

    def in_region(self, region: str) -> Self:
        """Return a client of the same account and credentials for another region."""
        if region == self.region:
            return self
        if region not in self._elsewhere:
            self._elsewhere[region] = type(self)(
                self._session,
                endpoint_url=self._endpoint_url,
                num_attempts=self._num_attempts,
                region=region,
            )
        return self._elsewhere[region]

    def known_regions(self, service: str) -> list[str]:
        """Return the regions of this partition in which boto3 knows a service."""
        return list(
            self._session.get_available_regions(
                service, partition_name=self.identity().partition
            )
        )

    @property
    def has_credentials(self) -> bool:
        """True if boto3 finds credentials."""
        try:
            return self._session.get_credentials() is not None
        except sdk_errors():
            return False

    def identity(self) -> Identity:
        """Return account, region and ARN of the caller; they are read from STS once."""
        if self._identity is None:
            answer = self.call("sts", "get_caller_identity")
            region = str(self.region)
            partition = str(answer["Arn"]).split(":")[1]
            self._identity = Identity(
                str(answer["Account"]), region, partition, str(answer["Arn"])
            )
        return self._identity

    def client(self, service: str, *, is_streaming: bool = False) -> Any:
        """Return the boto3 client of a service, which is created once.

        `is_streaming` selects the longer read timeout of streamed invocations.
        Invocations are never retried.
        """
        name = (service, is_streaming)
        if name not in self._clients:
            config = self._control
            if service == "sagemaker-runtime":
                config = _single_attempt(
                    STREAM_SECONDS if is_streaming else INVOKE_SECONDS
                )
            try:
                self._clients[name] = self._session.client(
                    service,
                    region_name=self._region,
                    endpoint_url=self._endpoint_url,
                    config=config,
                )
            except sdk_errors() as error:
                raise deploy_error_from(error, service) from error
            except ValueError as error:
                raise ConfigError(
                    f"{service}: {error}",
                    hint="--endpoint-url looks like https://host:port",
                ) from error
        return self._clients[name]

    def call(self, service: str, operation: str, **params: Any) -> dict[str, Any]:
        """Call the method `operation` of boto3's client, and return the response."""
        client = self.client(service)
        try:
            answer: dict[str, Any] = getattr(client, operation)(**params)
        except sdk_errors() as error:
            raise deploy_error_from(error, f"{service} {operation}") from error
        return answer

    def pages(
        self, service: str, operation: str, key: str, **params: Any
    ) -> Iterator[Any]:
        """Yield the items of a paginated operation, from member `key` of each page."""
        client = self.client(service)
        try:
            for page in client.get_paginator(operation).paginate(**params):
                yield from page.get(key) or ()
        except sdk_errors() as error:
            raise deploy_error_from(error, f"{service} {operation}") from error

    def objects(self, bucket: str, prefix: str) -> Iterator[Any]:
        """Yield the objects below a prefix, as S3 lists them."""
        return self.pages(
            "s3", "list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix
        )

    def violations(self, call: Call) -> list[str]:
        """Return a sentence for each parameter of a call that AWS would reject."""
        meta = self.client(call.service).meta
        name = meta.method_to_api_mapping[call.operation]
        shape = meta.service_model.operation_model(name).input_shape
        if shape is None:
            return []
        return [sentence.lstrip(".") for sentence in violations(shape, call.params)]

    def request_part(
        self, service: str, operation: str, description: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the part of a description that the request of `operation` takes."""
        meta = self.client(service).meta
        name = meta.method_to_api_mapping[operation]
        shape = meta.service_model.operation_model(name).input_shape
        part: dict[str, Any] = request_part(shape, description)
        return part

    def perform(self, call: Call) -> Mapping[str, Any]:
        """Make a call of a plan, and return the response.

        The result is empty if the resource exists already or is missing, and the call
        allows that. Raises ResourceFailedError if S3 deleted only some objects.
        """
        try:
            answer = self.call(call.service, call.operation, **call.params)
            # DeleteObjects of S3 succeeds even if it could not delete some objects.
            if errors := answer.get("Errors"):
                raise ResourceFailedError(
                    f"{call.service} {call.operation}: {len(errors)} objects failed, "
                    f"the first with {errors[0].get('Message')}",
                    hint="chandra-sagemaker iam --caller prints the policy that "
                    "allows it; then the same command again",
                )
            return answer
        except AlreadyExistsError:
            if not call.may_exist:
                raise
        except NotFoundError:
            if not call.may_be_missing:
                raise
        return {}


def _single_attempt(read_seconds: int) -> Config:
    """Return a configuration without retries, with this read timeout."""
    from botocore.config import Config

    return Config(
        read_timeout=read_seconds,
        connect_timeout=10,
        retries={"total_max_attempts": 1},
    )
