"""Documents that the server reads from S3, for which moto answers over HTTP."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import documents
from tests.s3 import KEY_ID, S3, SECRET, Answer, S3Request, s3_on_loopback
from tests.server.conftest import Client, run_server
from tests.waiting import until

TEXT = [["One page", "of few words"]]
PDF = documents.pdf(TEXT)
MAX_BYTES = 1_000_000


@pytest.fixture(scope="module")
def _s3() -> Iterator[S3]:
    with s3_on_loopback("docs", "private") as server:
        yield server


@pytest.fixture
def s3(_s3: S3) -> Iterator[S3]:
    _s3.reset()
    yield _s3
    _s3.reset()


@pytest.fixture(scope="module")
def client(_s3: S3, model_store: Path) -> Iterator[Client]:
    environ = {
        **_s3.environ,
        "DOCUMENT_BUCKETS": "docs/in",
        "CHANDRA_MAX_S3_DOCUMENT_BYTES": str(MAX_BYTES),
        "CHANDRA_MAX_OUTPUT_TOKENS": "48",
    }
    with run_server(model_store, environ) as server:
        yield server


def check_refusal(answer, status: int, code: str) -> str:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    return str(answer.json()["detail"])


def find_log_line(client: Client, answer):
    """Return the log line of a request."""
    request_id = answer.headers["x-request-id"]
    [line] = until(
        lambda: [
            event
            for event in client.lines.find_events("request")
            if event["request_id"] == request_id
        ]
    )
    return line


def test_document_in_s3_reads_like_the_same_uploaded_document(s3, client):
    uploaded = client.post(PDF, "application/pdf")

    read_from_s3 = client.post_json({"s3_uri": s3.put("in/a b.pdf", PDF)})

    assert read_from_s3.status_code == 200
    assert read_from_s3.json()["markdown"] == uploaded.json()["markdown"]


def test_a_line_of_a_manifest_is_a_request(s3, client):
    uri = s3.put("in/two.pdf", documents.pdf([["First"], ["Second"]]))
    line = json.dumps({"document": uri, "pages": "2"}) + "\n"

    answer = client.post(line.encode(), "application/jsonlines")

    assert [page["page"] for page in answer.json()["pages"]] == [2]


def test_a_document_in_s3_is_streamed_like_any_other(s3, client):
    uri = s3.put("in/two.pdf", documents.pdf([["First"], ["Second"]]))

    answer = client.post_json({"s3_uri": uri}, accept="application/x-ndjson")

    events = [json.loads(line)["event"] for line in answer.text.splitlines()]
    assert events == ["page", "page", "end"]


@pytest.mark.parametrize(
    "uri",
    ["s3://private/in/a.pdf", "s3://docs/a.pdf", "s3://docs/in/../a.pdf"],
)
def test_uri_outside_the_allowed_prefixes_is_forbidden(s3, client, uri):
    s3.put("a.pdf", PDF)
    s3.put("in/a.pdf", PDF, bucket="private")
    s3.requests.clear()

    check_refusal(client.post_json({"s3_uri": uri}), 403, "document_forbidden")

    assert s3.requests == []


def test_missing_object_is_not_found(client):
    answer = client.post_json({"s3_uri": "s3://docs/in/gone.pdf"})

    assert "s3://docs/in/gone.pdf" in check_refusal(answer, 404, "document_not_found")


def test_object_over_the_limit_is_refused_without_a_read(s3, client):
    uri = s3.put("in/large.pdf", PDF + bytes(MAX_BYTES))

    detail = check_refusal(client.post_json({"s3_uri": uri}), 413, "document_too_large")

    assert "1,000,000 bytes" in detail
    assert s3.read_requests() == []


def test_broken_object_is_refused_like_a_broken_upload(s3, client):
    uri = s3.put("in/broken.pdf", documents.truncated_pdf())

    check_refusal(client.post_json({"s3_uri": uri}), 422, "unreadable_document")


def test_object_that_changes_during_the_read_is_refused(s3, client):
    uri = s3.put("in/a.pdf", PDF)

    def intercept(request: S3Request) -> None:
        if request.method == "GET":
            s3.intercept = lambda request: None
            s3.put("in/a.pdf", PDF[::-1])

    s3.intercept = intercept

    check_refusal(client.post_json({"s3_uri": uri}), 409, "document_changed")


def test_s3_failure_is_answered_with_retry_after(s3, client):
    def intercept(request: S3Request) -> Answer | None:
        return "503 Slow Down", [], b"<Error><Code>SlowDown</Code></Error>"

    s3.intercept = intercept

    answer = client.post_json({"s3_uri": "s3://docs/in/a.pdf"})

    check_refusal(answer, 503, "storage_unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_slow_s3_read_does_not_block_other_requests(s3, client):
    uri = s3.put("in/a.pdf", PDF)
    gate, is_waiting = threading.Event(), threading.Event()

    def intercept(request: S3Request) -> None:
        is_waiting.set()
        gate.wait(60)

    s3.intercept = intercept
    answers = []
    waiting = threading.Thread(
        target=lambda: answers.append(
            client.post_json(
                {"s3_uri": uri, "deadline_seconds": 300}, timeout_seconds=300
            )
        )
    )
    waiting.start()
    assert is_waiting.wait(60)

    other = client.post(PDF, "application/pdf")

    assert other.status_code == 200
    assert answers == []
    gate.set()
    waiting.join(300)
    assert [answer.status_code for answer in answers] == [200]


def test_deadline_holds_while_s3_does_not_answer(s3, client):
    gate = threading.Event()

    def intercept(request: S3Request) -> None:
        gate.wait(60)

    s3.intercept = intercept
    started = time.monotonic()

    answer = client.post_json({"s3_uri": "s3://docs/in/a.pdf", "deadline_seconds": 1})

    gate.set()
    check_refusal(answer, 504, "deadline_exceeded")
    assert time.monotonic() - started < 30


def test_log_has_the_error_code_and_the_digest_of_the_uri(s3, client):
    uri = s3.put("in/Miller divorce.pdf", documents.truncated_pdf())

    line = find_log_line(client, client.post_json({"s3_uri": uri}))

    assert (line["status"], line["code"]) == (422, "unreadable_document")
    assert line["document"] == hashlib.sha256(uri.encode()).hexdigest()[:16]


def test_log_has_the_content_digest_of_an_upload(client):
    line = find_log_line(client, client.post(PDF, "application/pdf"))

    assert line["code"] is None
    assert line["document"] == hashlib.sha256(PDF).hexdigest()[:16]
    assert line["fetched_bytes"] == 0


def test_log_has_the_number_of_fetched_bytes(s3, client):
    line = find_log_line(client, client.post_json({"s3_uri": s3.put("in/a.pdf", PDF)}))

    assert line["fetched_bytes"] == len(PDF)


def test_log_has_no_document_names_and_no_credentials(s3, client):
    uri = s3.put("in/Miller divorce.pdf", PDF)
    client.post_json({"s3_uri": uri})
    client.post_json({"s3_uri": "s3://private/Miller divorce.pdf"})
    client.post_json({"s3_uri": "s3://docs/in/no Miller divorce.pdf"})

    log = "\n".join(client.lines)
    for secret in ("divorce", KEY_ID, SECRET):
        assert secret not in log
