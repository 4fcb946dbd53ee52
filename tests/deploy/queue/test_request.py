"""Requests that are sent to an asynchronous endpoint."""

from __future__ import annotations

import json

import pytest

from deploy.queue.submit import build_request
from tests.deploy.queue.queued import TABLE, build_job


@pytest.mark.parametrize(
    ("changes", "reads_itself", "expected"),
    [
        ({}, False, "InputLocation"),
        ({}, True, "InputLocation"),
        ({"options": {"pages": "1"}}, False, "InputLocation"),
        ({"options": {"pages": "1"}}, True, "Body"),
        ({"options": {"pages": "1"}, "source": "/a.pdf"}, True, "InputLocation"),
        ({"size": 200 << 20}, False, "InputLocation"),
        ({"size": 200 << 20, "source": "/a.pdf"}, True, "Body"),
    ],
)
def test_request_has_body_or_input_location(changes, reads_itself, expected):
    request = build_request(
        build_job(**changes), "s3://b/a.pdf", TABLE, reads_itself=reads_itself
    )

    assert {"Body", "InputLocation"} & {*request} == {expected}


def test_request_is_valid_for_aws(service_model):
    from deploy.aws.validation import violations

    shape = (
        service_model("sagemaker-runtime")
        .operation_model("InvokeEndpointAsync")
        .input_shape
    )
    for options in ({}, {"pages": "1-3,7", "include_images": True}):
        for reads_itself in (True, False):
            request = build_request(
                build_job(options=options, attempt=12),
                "s3://scans/a b.pdf",
                TABLE,
                reads_itself=reads_itself,
            )
            problems = list(violations(shape, {**request, "EndpointName": "ocr-async"}))
            assert problems == []


def test_non_ascii_key_is_sent_in_body_or_refused():
    uri = "s3://scans/r\u00e9sum\u00e9.pdf"

    request = build_request(build_job(), uri, TABLE, reads_itself=True)

    assert json.loads(request["Body"]) == {"s3_uri": uri}
    with pytest.raises(ValueError, match="does not accept this key"):
        build_request(build_job(), uri, TABLE, reads_itself=False)


@pytest.mark.parametrize(
    ("uri", "options", "words"),
    [
        (f"s3://scans/{'k' * 1020}.pdf", {}, "does not accept this key"),
        ("s3://scans/a.pdf ", {}, "does not accept this key"),
        (
            "s3://scans/a.pdf",
            {"pages": ",".join(map(str, range(1, 700, 2)))},
            "its options have 1,",
        ),
    ],
)
def test_value_invalid_in_a_header_is_sent_in_body_or_refused(uri, options, words):
    request_job = build_job(options=options, source="/a.pdf")

    request = build_request(request_job, uri, TABLE, reads_itself=True)

    assert json.loads(request["Body"]) == {"s3_uri": uri, **options}
    with pytest.raises(ValueError, match=words):
        build_request(request_job, uri, TABLE, reads_itself=False)
