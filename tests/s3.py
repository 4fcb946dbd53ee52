"""An S3 of our own: moto's, and whatever a test wants to go wrong with it."""

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
KEY_ID, SECRET = "AKIATESTINGTESTING", "a-secret-nobody-may-see"


@dataclass(frozen=True)
class Asked:
    """One request, as S3 sees it."""

    method: str
    path: str
    range: str | None


@dataclass
class S3:
    """moto behind a door: every request is noted, and a test may stand in it."""

    moto: Any = field(
        default_factory=lambda: DomainDispatcherApplication(create_backend_app)
    )
    address: str = ""
    client: Any = None
    asked: list[Asked] = field(default_factory=list)
    door: Callable[[Asked], Answer | None] = lambda asked: None
    """What is answered in S3's place; None: S3 answers itself."""

    def __call__(self, environ: Any, start: Any) -> Any:
        asked = Asked(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            environ.get("HTTP_RANGE"),
        )
        self.asked.append(asked)
        if (answer := self.door(asked)) is None:
            return self.moto(environ, start)
        status, headers, body = answer
        start(status, headers)
        return [body]

    def reset(self) -> None:
        """Nothing was asked, and nothing goes wrong."""
        self.door = lambda asked: None
        self.asked.clear()

    def put(self, key: str, content: bytes, bucket: str = "docs") -> str:
        """The address of an object with this content."""
        self.client.put_object(Bucket=bucket, Key=key, Body=content)
        return f"s3://{bucket}/{key}"

    def reads(self) -> list[Asked]:
        """What was asked of objects' bytes."""
        return [asked for asked in self.asked if asked.method == "GET"]

    @property
    def environ(self) -> dict[str, str]:
        """Variables by which boto3 finds it, and no other."""
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
    # One connection for many requests, as S3 keeps them.
    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        """No line for every request."""


@contextlib.contextmanager
def s3_on_loopback(*buckets: str) -> Iterator[S3]:
    """A server with these buckets; boto3 in this process knows only it."""
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
