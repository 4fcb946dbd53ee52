"""Invocation of an endpoint, without retries, and the errors of its container."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from deploy.aws.client import INVOKE_SECONDS, STREAM_SECONDS, AWSClient
from deploy.aws.faults import SdkError, deploy_error_from, sdk_errors
from deploy.errors import (
    DeployError,
    DocumentError,
    NotFoundError,
    ResourceFailedError,
)
from deploy.failures import PERMANENT

__all__ = ["MAX_BODY_BYTES", "Runtime"]

MAX_BODY_BYTES = 25 * 1000 * 1000
SERVICE = "sagemaker-runtime"

HINTS = {
    "deadline_exceeded": "fewer pages with --pages, or --stream for up to 8 minutes",
    "document_too_large": "fewer pages with --pages, or a smaller image",
    "engine_unavailable": "chandra-sagemaker logs --errors",
    "invalid_option": "chandra-sagemaker invoke --help",
    "overloaded": "try again in some seconds, or add machines with update "
    "--instance-count",
}


class Runtime:
    """Client that invokes one endpoint."""

    def __init__(self, aws: AWSClient, endpoint: str) -> None:
        self._aws = aws
        self._endpoint = endpoint

    def invoke(
        self, body: bytes, *, content_type: str, accept: str, attributes: str
    ) -> bytes:
        """Send a document and return the whole answer, which may take 60 s.

        Raises DocumentError if the container cannot read the document, NotFoundError
        without an endpoint, and another DeployError for other failures.
        """
        try:
            answer = self._client.invoke_endpoint(
                **self._request(body, content_type, accept, attributes)
            )
            content: bytes = answer["Body"].read()
        except sdk_errors() as error:
            raise self._error_from(error) from error
        return content

    def stream(
        self, body: bytes, *, content_type: str, accept: str, attributes: str
    ) -> Iterator[bytes]:
        """Send a document and yield the answer's lines as they arrive.

        Empty lines are skipped, and an unfinished last line is yielded at the end.
        Raises the errors of `invoke`, and ResourceFailedError if the stream breaks or
        no data arrives for 8 minutes.
        """
        rest = b""
        try:
            client = self._aws.client(SERVICE, is_streaming=True)
            answer = client.invoke_endpoint_with_response_stream(
                **self._request(body, content_type, accept, attributes)
            )
            for event in answer["Body"]:
                *lines, rest = (rest + event["PayloadPart"]["Bytes"]).split(b"\n")
                yield from (line for line in lines if line)
        except sdk_errors() as error:
            raise self._error_from(error, STREAM_SECONDS) from error
        except _http_errors() as error:
            # botocore does not wrap errors of urllib3 while it reads a stream.
            raise ResourceFailedError(
                f"the stream ended early: {error}",
                hint="the same command with --pages for the remaining pages; "
                "chandra-sagemaker logs --errors",
            ) from error
        if rest:
            yield rest

    def submit(self, **request: Any) -> tuple[str, str]:
        """Put a request into the queue of an asynchronous endpoint.

        `request` are parameters of InvokeEndpointAsync. Returns the s3:// addresses at
        which SageMaker will write the answer or the failure; the latter is empty if it
        names none. Raises TransientError if the same request may be sent again later.
        """
        try:
            answer = self._client.invoke_endpoint_async(
                EndpointName=self._endpoint, **request
            )
        except sdk_errors() as error:
            raise self._error_from(error) from error
        return str(answer["OutputLocation"]), str(answer.get("FailureLocation") or "")

    @property
    def _client(self) -> Any:
        return self._aws.client(SERVICE)

    def _request(
        self, body: bytes, content_type: str, accept: str, attributes: str
    ) -> dict[str, Any]:
        request: dict[str, Any] = {
            "EndpointName": self._endpoint,
            "ContentType": content_type,
            "Accept": accept,
            "Body": body,
        }
        if attributes:
            request["CustomAttributes"] = attributes
        return request

    def _error_from(
        self, error: SdkError, seconds: int = INVOKE_SECONDS
    ) -> DeployError:
        from botocore.exceptions import ClientError, EventStreamError, ReadTimeoutError

        if isinstance(error, ReadTimeoutError):
            return ResourceFailedError(
                f"endpoint {self._endpoint} did not answer within {seconds} s",
                hint=HINTS["deadline_exceeded"],
            )
        if isinstance(error, EventStreamError):
            return ResourceFailedError(
                f"the stream ended early: {error.response['Error'].get('Message')}",
                hint="chandra-sagemaker logs --errors",
            )
        if isinstance(error, ClientError):
            if error.response["Error"]["Code"] == "ModelError":
                return self._model_error(error.response)
            fault = deploy_error_from(error, "invoking the endpoint")
            if isinstance(fault, NotFoundError) or "not found" in fault.message:
                return NotFoundError(
                    f"there is no endpoint {self._endpoint} in service",
                    hint="chandra-sagemaker status",
                )
            return fault
        return deploy_error_from(error, "invoking the endpoint")

    @staticmethod
    def _model_error(response: Any) -> DeployError:
        """Return the error for the container's problem in SageMaker's ModelError."""
        status = response.get("OriginalStatusCode")
        text = response.get("OriginalMessage") or ""
        try:
            problem = json.loads(text)
            code, detail = str(problem["code"]), str(problem["detail"])
        except (ValueError, KeyError, TypeError):
            if not status:
                return ResourceFailedError(
                    "the container did not answer within SageMaker's 60 s",
                    hint=HINTS["deadline_exceeded"],
                )
            return ResourceFailedError(
                f"the container answered {status}: {text.strip()[:500] or 'nothing'}",
                hint="chandra-sagemaker logs --errors",
            )
        if code in PERMANENT:
            return DocumentError(
                f"{detail} ({code}, {status})",
                code=code,
                hint=HINTS.get(code, PERMANENT[code]),
            )
        return ResourceFailedError(
            f"{detail} ({code}, {status})",
            hint=HINTS.get(
                code,
                "chandra-sagemaker logs --search "
                + str(problem.get("request_id", code)),
            ),
        )


def _http_errors() -> type[Exception]:
    from urllib3.exceptions import HTTPError

    return HTTPError
