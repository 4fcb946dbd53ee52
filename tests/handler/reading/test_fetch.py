"""Downloads of documents from S3, and their errors.

boto3 calls moto's S3 over HTTP. A test sets `s3.intercept` (tests/s3.py) to a function
that answers or delays a request in its place.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from pathlib import Path

import pytest

from handler.errors import (
    DeadlineExceededError,
    DocumentChangedError,
    DocumentForbiddenError,
    DocumentNotFoundError,
    DocumentTooLargeError,
    OverloadedError,
    RequestError,
    StorageError,
    UnreadableDocumentError,
)
from handler.reading.fetch import Fetcher
from handler.storage.addresses import Buckets, parse_address
from handler.storage.s3 import MAX_ATTEMPTS, ObjectReader
from handler.storage.spool import Spool
from tests.s3 import KEY_ID, SECRET, Answer, S3Request
from tests.waiting import until

CONTENT = bytes(range(256)) * 40
PART = 1000


@pytest.fixture
def fetcher(s3):
    fetcher = create_fetcher()
    yield fetcher
    fetcher.close()


def create_fetcher(create_spool=Spool, **options) -> Fetcher:
    objects = ObjectReader(part_bytes=PART, **options)
    return Fetcher(Buckets("docs"), 100_000, objects, create_spool)


@pytest.fixture
def download(fetcher):
    """Function that downloads an object and returns its content."""

    def fetch(uri: str, should_stop=lambda: None) -> bytes:
        document = fetcher.fetch(parse_address(uri), should_stop)
        try:
            return Path(document.path).read_bytes()
        finally:
            document.close()

    return fetch


def failing(method: str, status: str, code: str, times: int = 1_000):
    """Return an interceptor that fails the first `times` requests of a method."""
    left = iter(range(times))
    body = f"<Error><Code>{code}</Code><Message>{KEY_ID}</Message></Error>".encode()

    def intercept(request: S3Request) -> Answer | None:
        if request.method != method or next(left, None) is None:
            return None
        return status, [("Content-Type", "application/xml")], body

    return intercept


def num_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


# Successful downloads


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, len(CONTENT)])
def test_downloaded_bytes_equal_the_object(s3, download, size):
    assert download(s3.put("a.pdf", CONTENT[:size])) == CONTENT[:size]


@pytest.mark.parametrize(
    "key",
    ["a b/c+d.pdf", "100%25.pdf", "ünï/✓.pdf", "a?b#c&d=e.pdf", "//a//", "~a'()*"],
)
def test_unusual_keys_are_read(s3, download, key):
    assert download(s3.put(key, CONTENT)) == CONTENT


def test_object_is_read_in_parts_that_do_not_overlap(s3, download):
    download(s3.put("a.pdf", CONTENT[:2500]))

    ranges = sorted(str(request.range) for request in s3.read_requests())
    assert ranges == ["bytes=0-999", "bytes=1000-1999", "bytes=2000-2499"]


def test_parts_are_read_several_at_once(s3, download):
    uri = s3.put("a.pdf", CONTENT)
    first = {f"bytes={n * PART}-{(n + 1) * PART - 1}" for n in range(4)}
    together = threading.Barrier(len(first), timeout=20)
    passed = []

    def intercept(request: S3Request) -> None:
        # Only four concurrent requests pass the barrier.
        if request.range in first:
            passed.append(together.wait())

    s3.intercept = intercept

    assert download(uri) == CONTENT
    assert sorted(passed) == [0, 1, 2, 3]


def test_no_file_stays_open(s3, download):
    download(s3.put("a.pdf", CONTENT))
    before = num_open_files()

    download(s3.put("a.pdf", CONTENT))

    # Connections are kept for the next download; files are not.
    assert num_open_files() <= before + 4


# Refusals


def test_without_allowed_buckets_s3_is_not_called(s3):
    with pytest.raises(DocumentForbiddenError, match="DOCUMENT_BUCKETS names no"):
        Fetcher(Buckets(None), 1).fetch(parse_address("s3://docs/a"), lambda: None)

    assert s3.requests == []


@pytest.mark.parametrize(
    "uri", ["s3://private/a.pdf", "s3://docs/../private/a.pdf", "s3://docs/a/../../b"]
)
def test_other_bucket_is_refused_without_calling_s3(s3, download, uri):
    s3.put("a.pdf", CONTENT, bucket="private")
    s3.requests.clear()

    with pytest.raises(DocumentForbiddenError, match="not in a bucket or prefix"):
        download(uri)

    assert s3.requests == []


def test_too_large_object_is_refused_before_it_is_read(s3, download):
    uri = s3.put("a.pdf", bytes(100_001))

    with pytest.raises(DocumentTooLargeError, match=r"100,001 bytes; .* 100,000 bytes"):
        download(uri)

    assert s3.read_requests() == []


def test_huge_object_size_is_refused(s3, download):
    def intercept(request: S3Request) -> Answer | None:
        head = [("Content-Length", str(2**62)), ("ETag", '"x"')]
        return ("200 OK", head, b"") if request.method == "HEAD" else None

    s3.intercept = intercept

    with pytest.raises(DocumentTooLargeError, match="4,611,686,018,427,387,904 bytes"):
        download("s3://docs/a.pdf")


def test_an_empty_object_is_no_document(s3, download):
    with pytest.raises(UnreadableDocumentError, match=r"a\.pdf is empty"):
        download(s3.put("a.pdf", b""))


@pytest.mark.parametrize("uri", ["s3://docs/gone.pdf", "s3://docs/a.pdf/"])
def test_missing_object_is_not_found(download, uri):
    with pytest.raises(DocumentNotFoundError, match=f"there is no {uri}"):
        download(uri)


def test_missing_bucket_is_not_found(s3):
    fetcher = Fetcher(Buckets("nowhere"), 1000)

    with pytest.raises(DocumentNotFoundError, match="there is no s3://nowhere/a"):
        fetcher.fetch(parse_address("s3://nowhere/a"), lambda: None)

    fetcher.close()


def test_forbidden_object_names_the_missing_permission(s3, download):
    s3.intercept = failing("HEAD", "403 Forbidden", "AccessDenied")

    with pytest.raises(DocumentForbiddenError, match="role s3:GetObject on it"):
        download("s3://docs/a.pdf")


def test_forbidden_kms_key_is_reported_on_get(s3, download):
    uri = s3.put("a.pdf", CONTENT)
    s3.intercept = failing("GET", "403 Forbidden", "AccessDenied")

    with pytest.raises(DocumentForbiddenError, match="s3:GetObject"):
        download(uri)


def test_archived_object_is_forbidden(s3, download):
    uri = s3.put("a.pdf", CONTENT)
    s3.intercept = failing("GET", "403 Forbidden", "InvalidObjectState")

    with pytest.raises(DocumentForbiddenError, match="is archived: restore it first"):
        download(uri)


@pytest.mark.parametrize("status", ["400 Bad Request", "405 Method Not Allowed"])
def test_other_client_error_names_its_status(s3, download, status):
    s3.intercept = failing("HEAD", status, "Odd")

    with pytest.raises(RequestError, match=f"it returns status {status[:3]}"):
        download("s3://docs/a.pdf")


# Changes during the download


def call_before_first_get(s3, action) -> None:
    """Let the fake S3 call `action` once, before it answers the first GET request."""
    once = threading.Lock()

    def intercept(request: S3Request) -> None:
        if request.method == "GET" and once.acquire(blocking=False):
            s3.intercept = lambda request: None
            action()

    s3.intercept = intercept


def test_object_deleted_before_its_read_is_not_found(s3, download):
    uri = s3.put("a.pdf", CONTENT[:500])
    call_before_first_get(
        s3, lambda: s3.client.delete_object(Bucket="docs", Key="a.pdf")
    )

    with pytest.raises(DocumentNotFoundError, match=r"there is no s3://docs/a\.pdf"):
        download(uri)


@pytest.mark.parametrize("other", [CONTENT[::-1], CONTENT[:300], b""])
def test_object_replaced_during_its_read_is_changed(s3, download, other):
    uri = s3.put("a.pdf", CONTENT)
    call_before_first_get(s3, lambda: s3.put("a.pdf", other))

    with pytest.raises(DocumentChangedError, match="was changed while it was read"):
        download(uri)


# Transient and permanent failures


def test_transient_error_of_s3_is_retried(s3, download):
    uri = s3.put("a.pdf", CONTENT[:500])
    s3.intercept = failing("GET", "503 Slow Down", "SlowDown", times=1)

    assert download(uri) == CONTENT[:500]


def test_retries_of_a_busy_s3_are_limited(s3, download):
    uri = s3.put("a.pdf", CONTENT[:500])
    s3.requests.clear()
    s3.intercept = failing("GET", "503 Slow Down", "SlowDown")

    with pytest.raises(StorageError, match="at the moment: it returns status 503"):
        download(uri)

    assert len(s3.read_requests()) == MAX_ATTEMPTS


def break_off_responses(s3, uri: str, times: int):
    """Let the fake S3 break off the first `times` GET responses after 100 bytes."""
    left = iter(range(times))

    def intercept(request: S3Request) -> Answer | None:
        if request.method != "GET" or next(left, None) is None:
            return None
        first, last = map(int, str(request.range).removeprefix("bytes=").split("-"))
        head = [("Content-Length", str(last - first + 1)), ("Connection", "close")]
        return "206 Partial Content", head, CONTENT[first : min(first + 100, last + 1)]

    s3.intercept = intercept


def test_broken_response_is_resumed_where_it_ended(s3, download):
    uri = s3.put("a.pdf", CONTENT[:500])
    s3.requests.clear()
    break_off_responses(s3, uri, times=1)

    assert download(uri) == CONTENT[:500]
    assert [request.range for request in s3.read_requests()] == [
        "bytes=0-499",
        "bytes=100-499",
    ]


def test_response_that_always_breaks_off_is_an_error(s3, download):
    uri = s3.put("a.pdf", CONTENT[:1000])
    s3.requests.clear()
    break_off_responses(s3, uri, times=100)

    with pytest.raises(StorageError, match="connection to S3 was lost"):
        download(uri)

    assert len(s3.read_requests()) == MAX_ATTEMPTS


def test_response_longer_than_its_range_is_refused(s3, download):
    uri = s3.put("a.pdf", CONTENT[:500])

    def intercept(request: S3Request) -> Answer | None:
        head = [("Content-Length", str(len(CONTENT)))]
        return ("200 OK", head, CONTENT) if request.method == "GET" else None

    s3.intercept = intercept

    with pytest.raises(DocumentChangedError, match="changed its size"):
        download(uri)


def test_unreachable_s3_is_explained(s3, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        fetcher = Fetcher(Buckets("docs"), 1000)

        with pytest.raises(StorageError, match="container with network isolation"):
            fetcher.fetch(parse_address("s3://docs/a.pdf"), lambda: None)

    fetcher.close()


def test_missing_credentials_name_the_execution_role(s3, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    fetcher = Fetcher(Buckets("docs"), 1000)

    with pytest.raises(StorageError, match="needs an execution role"):
        fetcher.fetch(parse_address("s3://docs/a.pdf"), lambda: None)

    fetcher.close()


def test_credentials_are_in_no_error_and_no_line_of_the_log(s3, download, caplog):
    caplog.set_level(logging.INFO)
    uri = s3.put("a.pdf", CONTENT)
    details = []
    for method, status, code in (
        ("HEAD", "403 Forbidden", "InvalidAccessKeyId"),
        ("GET", "403 Forbidden", "SignatureDoesNotMatch"),
        ("GET", "400 Bad Request", "ExpiredToken"),
        ("GET", "500 Internal", "InternalError"),
    ):
        s3.intercept = failing(method, status, code)
        with pytest.raises((RequestError, StorageError)) as caught:
            download(uri)
        details.append(caught.value.detail)

    everything = "\n".join([*details, caplog.text])
    assert KEY_ID not in everything
    assert SECRET not in everything


def test_full_disk_is_overloaded(s3):
    def fail_on_full_disk(*_: int) -> None:
        raise OSError(28, "No space left on device")

    address = parse_address(s3.put("a.pdf", CONTENT))
    fetcher = create_fetcher(lambda: Spool(allocate=fail_on_full_disk))

    with pytest.raises(OverloadedError, match=r"too little space .* 10,240 bytes"):
        fetcher.fetch(address, lambda: None)

    fetcher.close()
    assert s3.read_requests() == []


# Downloads that are stopped


@pytest.fixture
def stalled(s3):
    """Fake S3 that accepts a request of one method and stays silent until the end."""
    gate = threading.Event()
    waiting = threading.Event()

    def stall(method: str) -> threading.Event:
        def intercept(request: S3Request) -> None:
            if request.method == method:
                waiting.set()
                gate.wait(30)

        s3.intercept = intercept
        return waiting

    yield stall
    gate.set()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_deadline_applies_while_s3_is_silent(s3, download, stalled, method):
    uri = s3.put("a.pdf", CONTENT)
    waiting = stalled(method)

    def should_stop() -> DeadlineExceededError | None:
        return DeadlineExceededError("late") if waiting.is_set() else None

    with pytest.raises(DeadlineExceededError, match="late"):
        download(uri, should_stop)


def test_late_bytes_are_not_written_into_another_file(s3):
    """A late thread must not write to a descriptor that was reused."""
    uri = s3.put("a.pdf", CONTENT)
    gate, is_writing = threading.Event(), threading.Event()

    def write_slowly(*arguments) -> int:
        is_writing.set()
        gate.wait(30)
        return os.pwrite(*arguments)

    fetcher = create_fetcher(pwrite=write_slowly)
    with pytest.raises(DeadlineExceededError):
        fetcher.fetch(
            parse_address(uri),
            lambda: DeadlineExceededError() if is_writing.is_set() else None,
        )
    # The lowest free numbers include that of the cancelled file.
    others = [Spool(b"another document") for _ in range(8)]

    gate.set()
    fetcher.close()  # waits for the threads

    contents = {Path(other.path).read_bytes() for other in others}
    for other in others:
        other.close()
    assert contents == {b"another document"}


def test_slow_download_does_not_block_a_small_one(s3, download, fetcher):
    """A slow download does not take all connections."""
    large = s3.put("large.pdf", CONTENT)
    small = s3.put("small.pdf", CONTENT[:10])
    gate, is_waiting = threading.Event(), threading.Semaphore(0)

    def intercept(request: S3Request) -> None:
        if request.method == "GET" and request.path.endswith("large.pdf"):
            is_waiting.release()
            gate.wait(30)

    s3.intercept = intercept
    contents: list[bytes] = []
    reading = threading.Thread(target=lambda: contents.append(download(large)))
    reading.start()
    assert all(is_waiting.acquire(timeout=20) for _ in range(4))

    assert download(small) == CONTENT[:10]

    gate.set()
    reading.join(20)
    assert contents == [CONTENT]
    until(lambda: not reading.is_alive())
