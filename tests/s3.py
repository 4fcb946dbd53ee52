"""S3 server on loopback: moto with injected faults."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    create_backend_app,
)
from werkzeug.serving import WSGIRequestHandler, make_server

Answer = tuple[str, list[tuple[str, str]], bytes]
KEY_ID, SECRET = "AKIATESTINGTESTING", "a-secret-that-must-not-leak"


@dataclass(frozen=True)
class S3Request:
    """Request to S3."""

    method: str
    path: str
    range: str | None


@dataclass
class S3:
    """moto server that records all requests, some of which a test may answer."""

    moto: Any = field(
        default_factory=lambda: DomainDispatcherApplication(create_backend_app)
    )
    address: str = ""
    client: Any = None
    requests: list[S3Request] = field(default_factory=list)
    intercept: Callable[[S3Request], Answer | None] = lambda request: None
    """Called before moto; returns an answer in its place, or None."""

    def __call__(self, environ: Any, start: Any) -> Any:
        request = S3Request(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            environ.get("HTTP_RANGE"),
        )
        self.requests.append(request)
        if (answer := self.intercept(request)) is None:
            return self.moto(environ, start)
        status, headers, body = answer
        start(status, headers)
        return [body]

    def reset(self) -> None:
        """Remove the recorded requests and the injected fault."""
        self.intercept = lambda request: None
        self.requests.clear()

    def put(self, key: str, content: bytes, bucket: str = "docs") -> str:
        """Store an object and return its URI."""
        self.client.put_object(Bucket=bucket, Key=key, Body=content)
        return f"s3://{bucket}/{key}"

    def read_requests(self) -> list[S3Request]:
        """Return the requests that read objects."""
        return [request for request in self.requests if request.method == "GET"]

    @property
    def environ(self) -> dict[str, str]:
        """Return environment variables that direct boto3 to this server."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }


class _Quiet(WSGIRequestHandler):
    # Keep connections open, as S3 does.
    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        """Suppress the log of requests."""


@contextlib.contextmanager
def s3_on_loopback(*buckets: str) -> Iterator[S3]:
    """Run a server with these buckets, to which boto3 in this process is directed."""
    s3 = S3()
    server = make_server("127.0.0.1", 0, s3, threaded=True, request_handler=_Quiet)
    s3.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in s3.environ.items():
            patch.setenv(name, value)
        s3.client = boto3.client("s3")
        for bucket in buckets:
            s3.client.create_bucket(Bucket=bucket)
        s3.reset()
        yield s3
        s3.client.close()
    server.shutdown()
    thread.join(10)
    server.server_close()
