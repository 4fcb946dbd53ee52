"""Tests of runs of batch transform jobs, through boto3."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter

import pytest

from deploy.emulator.limits import Assumptions
from tests.deploy.emulator.conftest import BUCKET
from tests.deploy.emulator.containers import Reply
from tests.deploy.emulator.jobs import (
    create_job,
    run_job,
    wait_for_job,
    wait_for_log_lines,
)
from tests.waiting import until


@pytest.fixture
def emulator(emulator):
    """Emulator with a model."""
    emulator.create_model()
    return emulator


def test_every_object_below_the_prefix_has_an_output(emulator, container):
    emulator.put_object("in/a.png", b"page a")
    emulator.put_object("in/folder/b.pdf", b"page b")
    emulator.put_object("in/folder/", b"")
    emulator.put_object("other/c.pdf", b"page c")

    job = run_job(
        emulator,
        source={"ContentType": "application/pdf"},
        target={"Accept": "text/markdown"},
    )

    assert job["TransformJobStatus"] == "Completed"
    assert job["CreationTime"] <= job["TransformStartTime"] <= job["TransformEndTime"]
    assert emulator.list_keys("out") == ["out/a.png.out", "out/folder/b.pdf.out"]
    assert emulator.get_object(f"s3://{BUCKET}/out/folder/b.pdf.out") == b"page b"
    assert {received["Content-Type"] for received in container.received} == {
        "application/pdf"
    }
    assert {received["Accept"] for received in container.received} == {"text/markdown"}


def test_prefix_may_end_within_a_file_name(emulator):
    emulator.put_object("in/page-1.png", b"1")
    emulator.put_object("in/page-2.png", b"2")
    emulator.put_object("in/other.png", b"3")

    run_job(emulator, data={"S3Uri": f"s3://{BUCKET}/in/page"})

    assert emulator.list_keys("out") == ["out/page-1.png.out", "out/page-2.png.out"]


def test_manifest_selects_the_objects(emulator):
    emulator.put_object("in/a.png", b"a")
    emulator.put_object("in/b.png", b"b")
    manifest = [{"prefix": f"s3://{BUCKET}/in/"}, "b.png"]
    uri = emulator.put_object("job.manifest", json.dumps(manifest).encode())

    run_job(emulator, data={"S3DataType": "ManifestFile", "S3Uri": uri})

    assert emulator.list_keys("out") == ["out/b.png.out"]


def test_invalid_manifest_fails_the_job(emulator):
    uri = emulator.put_object("job.manifest", b"a.png\nb.png\n")

    job = run_job(emulator, data={"S3DataType": "ManifestFile", "S3Uri": uri})

    assert job["TransformJobStatus"] == "Failed"
    assert "is not a manifest" in job["FailureReason"]


def test_prefix_without_objects_fails_the_job(emulator):
    job = run_job(emulator)

    assert "No S3 objects found" in job["FailureReason"]


def test_failed_object_fails_the_job_but_not_the_others(emulator, container):
    for name in ("a", "b", "c"):
        emulator.put_object(f"in/{name}.png", name.encode())
    container.reply = lambda received: (
        Reply(b'{"code": "unreadable_document"}', 422)
        if received.body == b"b"
        else Reply(received.body)
    )

    job = run_job(emulator)

    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"] == "ClientError: See job logs for more information"
    assert emulator.list_keys("out") == ["out/a.png.out", "out/c.png.out"]
    wait_for_log_lines(
        emulator,
        f"{BUCKET}/in/b.png: ClientError: 422",
        f'{BUCKET}/in/b.png: {{"code": "unreadable_document"}}',
    )
    assert Counter(r.body for r in container.received)[b"b"] == 1


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (Reply(b"", 503), "Bad HTTP status received from algorithm: 503"),
        (Reply(is_broken=True), "Unable to get response from algorithm"),
    ],
)
def test_failing_container_is_retried_up_to_the_limit(emulator, container, reply, line):
    emulator.put_object("in/a.png", b"a")
    container.reply = lambda received: reply

    job = run_job(emulator, ModelClientConfig={"InvocationsMaxRetries": 2})

    assert len(container.received) == 3
    assert job["FailureReason"] == "AlgorithmError: See job logs for more information"
    wait_for_log_lines(emulator, f"{BUCKET}/in/a.png: {line}")


def test_retry_may_succeed(emulator, container):
    emulator.put_object("in/a.png", b"a")
    replies = iter([Reply(is_broken=True), Reply(b"", 500), Reply(b"read")])
    container.reply = lambda received: next(replies)

    assert run_job(emulator)["TransformJobStatus"] == "Completed"
    assert emulator.get_object(f"s3://{BUCKET}/out/a.png.out") == b"read"


def test_retried_statuses_can_be_set(start_emulator, container):
    emulator = start_emulator(
        container.address, assumptions=Assumptions(retried_statuses="422")
    )
    emulator.create_model()
    emulator.put_object("in/a.png", b"a")
    replies = iter([Reply(b"", 422), Reply(b"", 500)])
    container.reply = lambda received: next(replies)

    job = run_job(emulator)

    assert len(container.received) == 2
    assert job["TransformJobStatus"] == "Failed"


def test_response_without_content_length_is_not_retried(emulator, container):
    emulator.put_object("in/a.png", b"a")
    container.reply = lambda received: Reply(iter([b"page 1\n", b"page 2\n"]))

    job = run_job(emulator)

    assert job["TransformJobStatus"] == "Failed"
    assert emulator.list_keys("out") == []
    assert len(container.received) == 1
    wait_for_log_lines(
        emulator, f"{BUCKET}/in/a.png: the response has no Content-Length"
    )


def test_slow_response_fails_the_object(emulator, container):
    emulator.put_object("in/a.png", b"a")
    is_over = threading.Event()
    container.reply = lambda received: Reply(b"x" if is_over.wait(20) else b"")

    run_job(
        emulator,
        ModelClientConfig={
            "InvocationsTimeoutInSeconds": 1,
            "InvocationsMaxRetries": 0,
        },
    )
    is_over.set()

    wait_for_log_lines(
        emulator, f"{BUCKET}/in/a.png: Unable to get response from algorithm"
    )


def test_unhealthy_container_receives_no_requests(emulator, container):
    emulator.put_object("in/a.png", b"a")
    container.ping = 503

    create_job(emulator)
    until(lambda: container.num_pings > 2)
    assert container.received == []
    container.ping = 200

    assert wait_for_job(emulator)["TransformJobStatus"] == "Completed"


def test_default_settings_are_those_of_sagemaker(emulator):
    emulator.put_object("in/a.png", b"a")

    run_job(emulator)

    wait_for_log_lines(
        emulator,
        "MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD",
    )


def test_job_settings_override_those_of_the_container(emulator, container):
    emulator.put_object("in/a.png", b"a")
    container.parameters = json.dumps(
        {
            "MaxConcurrentTransforms": 3,
            "BatchStrategy": "SINGLE_RECORD",
            "MaxPayloadInMB": 20,
        }
    ).encode()

    run_job(emulator, name="first")
    run_job(
        emulator, name="second", MaxPayloadInMB=25, BatchStrategy="MultiRecord",
        MaxConcurrentTransforms=4,
    )  # fmt: skip

    wait_for_log_lines(
        emulator,
        "MaxConcurrentTransforms=3, MaxPayloadInMB=20, BatchStrategy=SINGLE_RECORD",
        "MaxConcurrentTransforms=4, MaxPayloadInMB=25, BatchStrategy=MULTI_RECORD",
    )


def test_job_limits_concurrency(emulator, container):
    for number in range(7):
        emulator.put_object(f"in/{number}.png", b"x")
    release = threading.Event()
    container.reply = lambda received: Reply(b"x" if release.wait(20) else b"")

    create_job(emulator, MaxConcurrentTransforms=3, MaxPayloadInMB=10)
    until(lambda: len(container.received) == 3)
    release.set()

    assert wait_for_job(emulator)["TransformJobStatus"] == "Completed"
    assert container.max_concurrency == 3
    assert len(emulator.list_keys("out")) == 7


def test_object_above_the_payload_limit_is_not_sent(emulator, container):
    emulator.put_object("in/large.png", bytes(1024**2 + 1))
    emulator.put_object("in/small.png", bytes(1024**2))

    job = run_job(emulator, MaxPayloadInMB=1)

    assert job["TransformJobStatus"] == "Failed"
    assert emulator.list_keys("out") == ["out/small.png.out"]
    wait_for_log_lines(
        emulator, f"{BUCKET}/in/large.png: Too much data for max payload size"
    )


def test_object_is_sent_chunked_without_payload_limit(emulator, container):
    emulator.put_object("in/large.png", bytes(7 * 1024**2))

    run_job(emulator, MaxPayloadInMB=0)

    [received] = container.received
    assert received["Transfer-Encoding"] == "chunked"
    assert received["Content-Length"] is None
    assert len(received.body) == 7 * 1024**2


LINES = b'{"page": 1}\n{"page": 2}\n{"page": 3}'


def test_lines_are_sent_singly_and_stored_in_order(emulator, container):
    emulator.put_object("in/pages.jsonl", LINES)

    run_job(
        emulator,
        source={"SplitType": "Line", "ContentType": "application/json"},
        BatchStrategy="SingleRecord",
        MaxConcurrentTransforms=2,
        MaxPayloadInMB=1,
    )

    assert sorted(received.body for received in container.received) == [
        b'{"page": 1}\n',
        b'{"page": 2}\n',
        b'{"page": 3}',
    ]
    assert emulator.get_object(f"s3://{BUCKET}/out/pages.jsonl.out") == LINES


def test_assemble_with_line_separates_the_responses(emulator, container):
    emulator.put_object("in/pages.jsonl", LINES)
    container.reply = lambda received: Reply(b"read")

    run_job(
        emulator,
        source={"SplitType": "Line"},
        target={"AssembleWith": "Line"},
        BatchStrategy="SingleRecord",
    )

    assert (
        emulator.get_object(f"s3://{BUCKET}/out/pages.jsonl.out")
        == b"read\nread\nread\n"
    )


def test_lines_of_one_object_are_packed_up_to_the_limit(emulator, container):
    line = b"x" * (400 * 1024 - 1) + b"\n"
    emulator.put_object("in/a.txt", line * 3)
    emulator.put_object("in/b.txt", line)

    run_job(
        emulator,
        source={"SplitType": "Line"},
        BatchStrategy="MultiRecord",
        MaxPayloadInMB=1,
    )

    sizes = sorted(len(received.body) for received in container.received)
    assert sizes == [len(line), len(line), 2 * len(line)]


def test_newlines_can_be_removed(start_emulator, container):
    emulator = start_emulator(
        container.address, assumptions=Assumptions(keeps_newlines=False)
    )
    emulator.create_model()
    emulator.put_object("in/a.txt", b"one\r\ntwo\n\n")

    run_job(emulator, source={"SplitType": "Line"}, BatchStrategy="MultiRecord")

    assert [received.body for received in container.received] == [b"one\ntwo"]


def test_failed_line_fails_its_object(emulator, container):
    emulator.put_object("in/pages.jsonl", LINES)
    container.reply = lambda received: Reply(
        b"no", 400 if b"2" in received.body else 200
    )

    run_job(emulator, source={"SplitType": "Line"}, BatchStrategy="SingleRecord")

    assert emulator.list_keys("out") == []


def test_gzip_input_is_decompressed(emulator, container):
    emulator.put_object("in/a.jsonl.gz", gzip.compress(LINES))
    emulator.put_object("in/b.jsonl.gz", b"not compressed")

    job = run_job(emulator, source={"CompressionType": "Gzip"})

    assert [received.body for received in container.received] == [LINES]
    assert job["TransformJobStatus"] == "Failed"
    assert emulator.list_keys("out") == ["out/a.jsonl.gz.out"]


def test_output_can_be_named_after_the_full_key(start_emulator, container):
    emulator = start_emulator(
        container.address, assumptions=Assumptions(output_naming="full")
    )
    emulator.create_model()
    emulator.put_object("in/a.png", b"a")

    run_job(emulator)

    assert emulator.list_keys("out") == ["out/in/a.png.out"]
