"""Errors of S3 and of the network, and the errors they become."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from botocore import exceptions

from handler.errors import (
    DocumentForbiddenError,
    DocumentNotFoundError,
    DocumentTooLargeError,
    HandlerError,
    RequestError,
    StorageError,
    UnsupportedMediaTypeError,
)
from handler.reading.fetch import Fetcher
from handler.storage.addresses import Address, Buckets, parse_address
from handler.storage.s3 import ObjectReader
from handler.storage.s3_errors import translate_error
from tests.s3 import KEY_ID, Answer, S3Request

CONTENT = b"%PDF-1.7\n" + bytes(range(256)) * 40
URI = "s3://docs/a.pdf"
ADDRESS = Address("docs", "a.pdf")
LIMIT = 100_000


@contextmanager
def make_fetcher(*places: str) -> Iterator[Fetcher]:
    fetcher = Fetcher(Buckets(",".join(places)), LIMIT, ObjectReader())
    yield fetcher
    fetcher.close()


def download(uri: str) -> bytes:
    with make_fetcher("docs") as fetcher:
        document = fetcher.fetch(parse_address(uri), lambda: None)
        content = Path(document.path).read_bytes()
        document.close()
        return content


def download_error(uri: str = URI) -> HandlerError:
    """Download an object, and return the error that this raises."""
    with pytest.raises(HandlerError) as caught:
        download(uri)
    return caught.value


def failing_interceptor(
    status: str, code: str, message: str = "", *, head: str | None = None, **fields: str
):
    """Return an interceptor for the fake S3 that answers every request with an error.

    As with S3, only the error of a GET has a body, which gives the reason. `head` is
    the status of a HEAD, by default `status`; "" lets HEAD succeed.
    """
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    reason = f"<Code>{code}</Code><Message>{message} {KEY_ID}</Message>"
    body = f"<Error>{reason}{inner}</Error>".encode()
    xml = [("Content-Type", "application/xml")]

    def intercept(request: S3Request) -> Answer | None:
        if request.method == "HEAD":
            return None if head == "" else (head or status, [], b"")
        return status, xml, body

    return intercept


KMS = "User is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:x"
FORBIDDEN = "403 Forbidden"
FAILURES = {
    "kms": (FORBIDDEN, "AccessDenied", KMS, "kms:Decrypt on the key"),
    "kms disabled": ("400 Bad", "KMS.DisabledException", "", "the key is enabled"),
    "sse-c": (
        *("400 Bad", "InvalidRequest"),
        "The object was stored using a form of Server Side Encryption.",
        "SSE-C",
    ),
    "requester pays": (
        *(FORBIDDEN, "AccessDenied", "Bucket is a Requester Pays bucket"),
        "is in a requester-pays bucket",
    ),
    "vpc": (
        *(FORBIDDEN, "AccessDenied", "because no VPC endpoint policy allows it"),
        "the policy of the VPC's endpoint",
    ),
    "bucket policy": (
        *(FORBIDDEN, "AccessDenied"),
        "with an explicit deny in a resource-based policy",
        "a Deny in the bucket's policy",
    ),
    "other": (
        FORBIDDEN,
        "AccessDenied",
        "Access Denied",
        "does so for an object in a req",
    ),
    "clock": (FORBIDDEN, "RequestTimeTooSkewed", "", "clock of this machine"),
    "credentials": (FORBIDDEN, "InvalidAccessKeyId", "", "does not accept the cred"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_error_does_not_repeat_the_message_of_s3(s3, name):
    status, code, message, words = FAILURES[name]
    s3.put("a.pdf", CONTENT)
    s3.intercept = failing_interceptor(status, code, message)

    error = download_error()

    assert words in error.detail
    assert KEY_ID not in error.detail
    assert "arn:" not in error.detail


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"StorageClass": "DEEP_ARCHIVE"}, r"archived (DEEP_ARCHIVE): restore"),
        (
            {"StorageClass": "INTELLIGENT_TIERING", "AccessTier": "ARCHIVE_ACCESS"},
            "archived (INTELLIGENT_TIERING, ARCHIVE_ACCESS)",
        ),
        ({"StorageClass": "a b"}, "is archived: restore"),
        ({}, "is archived: restore"),
    ],
)
def test_error_of_an_archived_object_has_its_storage_class(s3, fields, words):
    s3.put("a.pdf", CONTENT)
    s3.intercept = failing_interceptor(
        FORBIDDEN, "InvalidObjectState", head="", **fields
    )

    error = download_error()

    assert isinstance(error, DocumentForbiddenError)
    assert words in error.detail


@pytest.mark.parametrize(
    ("code", "region", "words"),
    [
        ("AuthorizationHeaderMalformed", "eu-west-3", "another region, eu-west-3,"),
        ("AuthorizationHeaderMalformed", "<nowhere>", "another region than"),
        ("IllegalLocationConstraintException", "", "another region than"),
    ],
)
def test_error_of_another_region_names_the_region(code, region, words):
    response = {
        "Error": {"Code": code, "Region": region},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }

    error = translate_error(exceptions.ClientError(response, "GetObject"), ADDRESS)

    assert isinstance(error, StorageError)
    assert words in error.detail
    assert "AWS_REGION" in error.detail


def test_redirect_error_names_the_other_region():
    response = {
        "Error": {"Code": "301"},
        "ResponseMetadata": {
            "HTTPStatusCode": 301,
            "HTTPHeaders": {"x-amz-bucket-region": "us-gov-west-1"},
        },
    }

    error = translate_error(exceptions.ClientError(response, "HeadObject"), ADDRESS)

    assert "another region, us-gov-west-1," in error.detail


def test_refused_head_keeps_its_own_status(s3):
    s3.put("a.pdf", CONTENT)
    s3.intercept = failing_interceptor("404 Not Found", "NoSuchKey", head=FORBIDDEN)

    assert isinstance(download_error(), DocumentForbiddenError)


# Network and proxies


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            exceptions.ProxyConnectionError(proxy_url="http://me:pw@proxy"),
            "through the proxy",
        ),
        (exceptions.SSLError(endpoint_url="https://s3", error="x"), "AWS_CA_BUNDLE"),
        (exceptions.ConnectTimeoutError(endpoint_url="https://s3"), "security group"),
        (
            exceptions.EndpointConnectionError(endpoint_url="https://s3"),
            "network isolation",
        ),
        (exceptions.ReadTimeoutError(endpoint_url="https://s3"), "try again"),
        (exceptions.ConnectionClosedError(endpoint_url="https://s3"), "try again"),
        (exceptions.HTTPClientError(error="x"), "try again"),
        (
            exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
            "try again",
        ),
        (
            exceptions.UnknownEndpointError(service_name="s3", region_name="x"),
            "Unknown",
        ),
    ],
)
def test_network_failure_is_a_storage_error(error, words):
    translated = translate_error(error, ADDRESS)

    assert isinstance(translated, StorageError)
    assert words in translated.detail
    assert ("isolation" in translated.detail) == (words == "network isolation")
    assert "me:pw" not in translated.detail
    assert "https://" not in translated.detail


@pytest.fixture
def proxy(s3, monkeypatch):
    """Function that sends boto3 through a proxy whose address contains a password."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    def use(port: int) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:hunter2@127.0.0.1:{port}")

    return use


def test_error_of_an_unreachable_proxy_names_its_variables(proxy):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy(unused.getsockname()[1])

        error = download_error()

    assert isinstance(error, StorageError)
    assert "through the proxy that HTTPS_PROXY or HTTP_PROXY names" in error.detail
    assert "hunter2" not in error.detail


def test_error_of_a_proxy_without_password_says_so(proxy):
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy(server.getsockname()[1])

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.recv(65_536)
                client.sendall(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
                )

        thread = threading.Thread(target=answer)
        thread.start()
        error = download_error()
        thread.join(10)

    assert isinstance(error, StorageError)
    assert "requires a user and a password" in error.detail


# Keys from S3 events


EVENT_KEY = "in/my+file%281%29.pdf"
REAL_KEY = "in/my file(1).pdf"


def test_url_encoded_key_names_the_existing_object(s3):
    s3.put(REAL_KEY, CONTENT)

    error = download_error(f"s3://docs/{EVENT_KEY}")

    assert isinstance(error, DocumentNotFoundError)
    assert f"there is s3://docs/{REAL_KEY}" in error.detail
    assert "unquote_plus" in error.detail


def test_a_key_that_only_looks_encoded_gets_a_hint(s3):
    error = download_error("s3://docs/gone%20away.pdf")

    assert isinstance(error, DocumentNotFoundError)
    assert "looks URL-encoded" in error.detail


def test_a_key_with_percent_signs_that_exists_is_read(s3):
    s3.put(REAL_KEY, b"other")
    s3.put(EVENT_KEY, CONTENT)

    assert download(f"s3://docs/{EVENT_KEY}") == CONTENT


def test_decoded_key_outside_the_buckets_is_not_requested(s3):
    with (
        make_fetcher("docs/in") as fetcher,
        pytest.raises(DocumentNotFoundError, match="looks URL-encoded"),
    ):
        fetcher.fetch(parse_address("s3://docs/in/..%2Fa.pdf"), lambda: None)

    assert {request.path for request in s3.requests} == {"/docs/in/..%2Fa.pdf"}


# Compressed objects


def test_a_compressed_object_is_decompressed(s3):
    s3.put("plain.gz", gzip.compress(CONTENT))
    s3.client.put_object(
        Bucket="docs",
        Key="a.pdf",
        Body=gzip.compress(CONTENT),
        ContentEncoding="aws-chunked,gzip",
    )

    assert download("s3://docs/plain.gz") == CONTENT
    assert download(URI) == CONTENT


def test_size_limit_applies_to_the_decompressed_object(s3):
    s3.put("a.pdf", gzip.compress(bytes(LIMIT + 1)))

    error = download_error()

    assert isinstance(error, DocumentTooLargeError)
    assert "exceeds the limit of 100,000 bytes" in error.detail


def test_a_compressed_object_that_ends_early_is_a_bad_request(s3):
    s3.put("a.pdf", gzip.compress(CONTENT)[:-9])

    error = download_error()

    assert type(error) is RequestError
    assert "s3://docs/a.pdf is truncated gzip data" in error.detail


def test_object_of_another_coding_is_refused_unread(s3):
    s3.client.put_object(Bucket="docs", Key="a.pdf", Body=CONTENT, ContentEncoding="br")
    s3.requests.clear()

    error = download_error()

    assert isinstance(error, UnsupportedMediaTypeError)
    assert s3.read_requests() == []
