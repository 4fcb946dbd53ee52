"""Fake asynchronous endpoint that reads documents when a test tells it to.

It replaces SageMaker's data plane in the shim: it accepts requests and writes results
into moto's S3. A document that begins with BROKEN is refused, and the engine dies on
one that begins with DYING.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from deploy.documents.document import Document, split_uri
from deploy.queue.job import Job, State
from tests.deploy.accounts import configured
from tests.deploy.contents import beginning, text_of

Environ = dict[str, Any]
BROKEN = b"broken"
DYING = b"dying"
PREFIX = "HTTP_X_AMZN_SAGEMAKER_"


@dataclass(frozen=True)
class QueuedRequest:
    """Accepted request."""

    endpoint: str
    headers: dict[str, str]
    body: bytes
    output: str
    failure: str


@dataclass
class FakeQueue:
    """Fake data plane of an endpoint: its settings and the requests that it accepted.

    `waiting` has the accepted requests whose documents were not read yet.
    """

    wire: Any
    output: str = "s3://exchange/async/ocr/out"
    failure: str = "s3://exchange/async/ocr/failed"
    refusals: list[str] = field(default_factory=list)
    """Error codes of the next requests."""
    num_unanswered: int = 0
    """Number of requests that are accepted without an answer to the caller."""
    accepted: list[QueuedRequest] = field(default_factory=list)
    waiting: list[QueuedRequest] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(
        self, environ: Environ, body: bytes
    ) -> tuple[str, list[tuple[str, str]], bytes]:
        with self._lock:
            return self._call(environ, body)

    def _call(
        self, environ: Environ, body: bytes
    ) -> tuple[str, list[tuple[str, str]], bytes]:
        if self.refusals:
            code = self.refusals.pop(0)
            words = "endpoint not found" if code == "ValidationError" else "slow down"
            answer = json.dumps({"message": words}).encode()
            return "400 BAD REQUEST", [("x-amzn-ErrorType", code)], answer
        headers = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environ.items()
            if name.startswith(PREFIX)
        }
        extension, name = headers["s3outputpathextension"], headers["filename"]
        queued = QueuedRequest(
            environ["PATH_INFO"].split("/")[2],
            headers,
            body,
            f"{self.output}/{extension}/{name}",
            f"{self.failure}/{extension}/{name}-error.out",
        )
        self.accepted.append(queued)
        self.waiting.append(queued)
        if self.num_unanswered:
            self.num_unanswered -= 1
            return "503 SERVICE UNAVAILABLE", [], b"{}"
        places = [
            ("X-Amzn-SageMaker-OutputLocation", queued.output),
            ("X-Amzn-SageMaker-FailureLocation", queued.failure),
        ]
        answer = json.dumps({"InferenceId": headers["inference_id"]}).encode()
        return "202 ACCEPTED", [("Content-Type", "application/json"), *places], answer

    def process_waiting(self, number: int | None = None) -> None:
        """Read the first waiting documents, or all: write results or failures to S3."""
        for _ in range(len(self.waiting) if number is None else number):
            self._process(self.waiting.pop(0))

    def _process(self, queued: QueuedRequest) -> None:
        if queued.body:
            source = json.loads(queued.body)["s3_uri"]
        else:
            source = unquote(queued.headers["inputlocation"])
        content = text_of(self._read_object(source))
        if content.startswith(BROKEN):
            problem = {"code": "unreadable_document", "detail": "not a PDF"}
            self.write(queued.failure, json.dumps(problem).encode())
        elif content.startswith(DYING):
            problem = {"code": "engine_failed", "detail": "the engine died"}
            self.write(queued.failure, json.dumps(problem).encode())
        else:
            self.write(queued.output, build_result(content))

    def _read_object(self, uri: str) -> bytes:
        bucket, key = split_uri(uri)
        response = self.wire.call("s3", "get_object", Bucket=bucket, Key=key)
        content: bytes = response["Body"].read()
        return content

    def write(self, uri: str, content: bytes) -> None:
        """Write an object, given its s3:// address."""
        bucket, key = split_uri(uri)
        self.wire.call("s3", "put_object", Bucket=bucket, Key=key, Body=content)


def build_result(content: bytes, *, failed: tuple[int, ...] = ()) -> bytes:
    """Return the JSON result of two pages, of which those in `failed` were not read."""
    text = content.decode()
    pages = [
        {
            "page": number,
            "markdown": f"# {text}" if number == 1 else "",
            "html": f"<p>{text} {number}</p>",
            "error": {"code": "out_of_memory", "detail": "too large"}
            if number in failed
            else None,
        }
        for number in (1, 2)
    ]
    return json.dumps({"pages": pages}).encode()


CONFIG_TEMPLATE = """
[network]
isolation = {isolation}
[asynchronous]
bucket = "exchange"
sources = ["scans"]
"""


def put_object(wire, bucket, key, content):
    """Write a document whose bytes begin as its suffix requires."""
    content = beginning(key) + content
    wire.call("s3", "put_object", Bucket=bucket, Key=key, Body=content)


def get_object(wire, bucket, key):
    return wire.call("s3", "get_object", Bucket=bucket, Key=key)["Body"].read()


def read_states(ledger):
    """Return the states of all jobs in the ledger, sorted."""
    return sorted(job.state.value for job in ledger().read_jobs())


def store_as_sending(ledger, document_key, **changes):
    """Store a job as if its process had died during the request."""
    store = ledger()
    job = store.find_job(document_key)
    store.save(replace(job, state=State.SENDING, **changes))


def build_job(**changes):
    """Return a new job for a PDF in S3, with changed fields."""
    document = Document(
        name="a.pdf",
        source="s3://scans/a.pdf",
        media_type="application/pdf",
        size=7,
        content_key="c0ffee",
    )
    return replace(Job.from_document(document, "run", 0.0), **changes)


TABLE = configured(asynchronous={"bucket": "exchange"}).asynchronous
