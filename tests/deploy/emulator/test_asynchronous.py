"""Tests of InvokeEndpointAsync through boto3."""

from __future__ import annotations

import json
import threading
import time

import pytest
from botocore.exceptions import ClientError

from deploy.emulator.asynchronous.processor import RequestProcessor
from deploy.emulator.asynchronous.request import AcceptedRequest
from deploy.emulator.backend import S3Uri
from deploy.emulator.limits import Assumptions, SageMakerLimits
from tests.deploy.emulator.conftest import BUCKET
from tests.deploy.emulator.containers import Reply
from tests.waiting import until


def submit(local, name="ocr", **params):
    if "Body" not in params and "InputLocation" not in params:
        params["InputLocation"] = local.put_object("in/page.png", b"page")
    return local.runtime.invoke_endpoint_async(EndpointName=name, **params)


def expect_validation_error(local, **params):
    with pytest.raises(ClientError) as caught:
        local.runtime.invoke_endpoint_async(EndpointName="ocr", **params)
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    return caught.value.response["Error"]["Message"]


def wait_for_result(local, answer):
    return until(lambda: local.get_object(answer["OutputLocation"]))


def wait_for_failure(local, answer):
    return until(lambda: local.get_object(answer["FailureLocation"]))


def test_document_in_s3_has_its_result_in_s3(local, container):
    local.create_async_endpoint()

    answer = submit(
        local,
        ContentType="image/png",
        Accept="text/markdown",
        CustomAttributes="pages=1",
        InferenceId="mine",
    )

    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["InferenceId"] == "mine"
    assert answer["OutputLocation"].startswith(f"s3://{BUCKET}/out/")
    assert answer["OutputLocation"].endswith(".out")
    assert answer["FailureLocation"].startswith(f"s3://{BUCKET}/failed/")
    assert wait_for_result(local, answer) == b"page"
    [received] = container.received
    assert received["Content-Type"] == "image/png"
    assert received["Accept"] == "text/markdown"
    assert received["X-Amzn-SageMaker-Custom-Attributes"] == "pages=1"
    assert received["X-Amzn-SageMaker-Inference-Id"] == "mine"


def test_small_document_can_be_in_the_body(local):
    local.create_async_endpoint()

    answer = submit(local, Body=b"a small page")

    assert wait_for_result(local, answer) == b"a small page"


def test_output_object_has_content_type_of_the_response(local):
    local.create_async_endpoint()

    answer = submit(local)
    wait_for_result(local, answer)

    key = answer["OutputLocation"].removeprefix(f"s3://{BUCKET}/")
    head = local.client("s3").head_object(Bucket=BUCKET, Key=key)
    assert head["ContentType"] == "text/plain"


def test_filename_and_extension_set_the_output_location(local):
    local.create_async_endpoint()

    answer = submit(local, Filename="page.json", S3OutputPathExtension="run-7/a")

    assert answer["OutputLocation"] == f"s3://{BUCKET}/out/run-7/a/page.json"
    assert wait_for_result(local, answer) == b"page"


def test_exactly_one_of_body_and_location_is_required(local):
    local.create_async_endpoint()

    assert "exactly one" in expect_validation_error(local)
    assert "exactly one" in expect_validation_error(
        local, Body=b"x", InputLocation="s3://b/k"
    )


def test_body_above_128000_bytes_is_rejected(local):
    local.create_async_endpoint()

    assert "128000" in expect_validation_error(local, Body=bytes(128_001))
    assert submit(local, Body=bytes(128_000))


def test_real_time_endpoint_rejects_asynchronous_requests(local):
    local.create_endpoint()

    assert "not asynchronous" in expect_validation_error(local, Body=b"x")


@pytest.mark.parametrize(
    ("name", "value"),
    [("InvocationTimeoutSeconds", 3601), ("RequestTTLSeconds", 21_601)],
)
def test_times_out_of_range_are_rejected(local, name, value):
    local.create_async_endpoint()

    assert name in expect_validation_error(local, Body=b"x", **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Filename", "two.dots.json"),
        ("Filename", "x" * 33),
        ("S3OutputPathExtension", "s3://elsewhere"),
        ("S3OutputPathExtension", "a b"),
        ("InferenceId", "x" * 65),
        ("CustomAttributes", "x" * 1025),
        ("ContentType", "x" * 1025),
    ],
)
def test_parameters_are_checked_against_the_service_model(local, name, value):
    local.create_async_endpoint()

    assert name in expect_validation_error(local, Body=b"x", **{name: value})


def test_input_location_above_1024_characters_is_rejected(local):
    local.create_async_endpoint()
    long = f"s3://{BUCKET}/{'k' * 1100}"

    assert "InputLocation" in expect_validation_error(local, InputLocation=long)


def test_rejected_document_has_the_response_as_failure_object(local, container):
    local.create_async_endpoint()
    container.reply = lambda received: Reply(b'{"code": "unreadable_document"}', 422)

    answer = submit(local)

    assert wait_for_failure(local, answer) == b'{"code": "unreadable_document"}'
    assert local.get_object(answer["OutputLocation"]) is None
    assert len(container.received) == 1


@pytest.mark.parametrize("reply", [Reply(b"broken", 500), Reply(is_broken=True)])
def test_failed_request_is_not_retried(local, container, reply):
    local.create_async_endpoint()
    container.reply = lambda received: reply

    answer = submit(local)

    assert wait_for_failure(local, answer)
    assert len(container.received) == 1


def test_missing_input_object_fails_without_invocation(local, container):
    local.create_async_endpoint()

    answer = submit(local, InputLocation=f"s3://{BUCKET}/nowhere.pdf")

    assert b"Could not access S3 uri" in wait_for_failure(local, answer)
    assert container.received == []


def test_input_object_above_the_limit_fails(start, container):
    local = start(container.address, SageMakerLimits(object_bytes=3))
    local.create_async_endpoint()

    assert b"more than 3 bytes" in wait_for_failure(local, submit(local))


def test_request_fails_after_its_invocation_timeout(local, container):
    local.create_async_endpoint()
    is_over = threading.Event()
    container.reply = lambda received: Reply(b"late" if is_over.wait(20) else b"never")

    answer = submit(local, InvocationTimeoutSeconds=1)

    assert b"within 1 seconds" in wait_for_failure(local, answer)
    is_over.set()


def test_endpoint_config_limits_concurrency(local, container):
    local.create_async_endpoint(concurrency=3)
    release = threading.Event()
    container.reply = lambda received: Reply(b"x" if release.wait(20) else b"")

    answers = [submit(local, Body=b"%d" % number) for number in range(8)]
    until(lambda: len(container.received) == 3)
    assert local.emulator.asynchronous.count_requests("us-east-1", "ocr") == (5, 3)
    release.set()

    for answer in answers:
        wait_for_result(local, answer)
    assert container.max_concurrency == 3
    assert len(container.received) == 8


def test_waiting_request_goes_to_the_next_healthy_container(local, container):
    local.create_async_endpoint()
    container.ping = 503

    answer = submit(local)
    until(lambda: container.num_pings > 2)
    assert container.received == []
    container.ping = 200

    assert wait_for_result(local, answer) == b"page"


def test_request_expires_after_its_ttl(local, container):
    local.create_async_endpoint()
    container.ping = 503
    processor = RequestProcessor(
        local.emulator.find_endpoint,
        local.backend,
        local.emulator.logs,
        SageMakerLimits(),
        local.emulator.metrics,
    )
    request = AcceptedRequest(
        inference_id="old",
        region="us-east-1",
        endpoint="ocr",
        headers={},
        document=b"page",
        output=S3Uri(BUCKET, "out/old.out"),
        failure=S3Uri(BUCKET, "failed/old"),
        timeout_seconds=900,
        ttl_seconds=60,
        received=time.time() - 61,
    )

    processor.process(request)

    assert b"expired after 60 s" in local.get_object(f"s3://{BUCKET}/failed/old")
    assert container.received == []


def test_failure_without_failure_path_leaves_no_object(local, container):
    local.create_async_endpoint(failure=False)
    container.reply = lambda received: Reply(b"no", 500)

    answer = submit(local)

    assert "FailureLocation" not in answer
    until(lambda: any("server error (500)" in line for line in local.lines))
    assert local.list_keys("failed") == []


def test_failure_suffix_can_be_set(start, container):
    local = start(container.address, assumptions=Assumptions(failure_suffix=".failed"))
    local.create_async_endpoint()
    container.reply = lambda received: Reply(b"no", 500)

    answer = submit(local)

    assert answer["FailureLocation"].endswith(".failed")
    assert wait_for_failure(local, answer) == b"no"


def create_topic(local, topic_name):
    """Create a topic; return it, and a function that receives its next message."""
    sns, sqs = local.client("sns"), local.client("sqs")
    topic = sns.create_topic(Name=topic_name)["TopicArn"]
    url = sqs.create_queue(QueueName=topic_name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    sns.subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"]
    )

    def message():
        messages = sqs.receive_message(QueueUrl=url).get("Messages")
        if not messages:
            return None
        return json.loads(json.loads(messages[0]["Body"])["Message"])

    return topic, message


def test_success_and_failure_are_published(local, container):
    success, succeeded = create_topic(local, "success")
    error, failed = create_topic(local, "error")
    local.create_async_endpoint(SuccessTopic=success, ErrorTopic=error)

    good = submit(local, ContentType="image/png", InferenceId="good")
    message = until(succeeded)
    container.reply = lambda received: Reply(b"no", 500)
    submit(local, InferenceId="bad")
    bad = until(failed)

    assert message["invocationStatus"] == "Completed"
    assert message["inferenceId"] == "good"
    assert message["requestParameters"] == {
        "contentType": "image/png",
        "endpointName": "ocr",
        "inputLocation": f"s3://{BUCKET}/in/page.png",
    }
    assert message["responseParameters"] == {
        "contentType": "text/plain",
        "outputLocation": good["OutputLocation"],
    }
    assert "responseBody" not in message
    assert (bad["invocationStatus"], bad["inferenceId"]) == ("Failed", "bad")
    assert "server error (500)" in bad["failureReason"]


def test_notification_includes_small_response_on_request(start, container):
    local = start(container.address, SageMakerLimits(notified_bytes=4))
    topic, published = create_topic(local, "success")
    local.create_async_endpoint(
        SuccessTopic=topic, IncludeInferenceResponseIn=["SUCCESS_NOTIFICATION_TOPIC"]
    )

    submit(local, Body=b"tiny")
    small = until(published)
    submit(local, Body=b"larger")
    large = until(published)

    assert small["responseBody"] == {"content": "dGlueQ==", "encoding": "BASE64"}
    assert "responseBody" not in large


def test_response_without_content_length_is_not_stored(local, container):
    local.create_async_endpoint()
    container.reply = lambda received: Reply(iter([b"page 1\n", b"page 2\n"]))

    answer = submit(local)

    assert b"has no Content-Length header" in wait_for_failure(local, answer)
    assert local.get_object(answer["OutputLocation"]) is None
    assert len(container.received) == 1


def test_failure_of_a_request_is_in_the_data_log(local, container):
    local.create_async_endpoint()
    container.reply = lambda received: Reply(b"no", 500)
    submit(local, InferenceId="bad")

    def lines():
        streams = local.read_messages("/aws/sagemaker/Endpoints/ocr")
        names = [name for name in streams if name.endswith("/data-log")]
        return streams[names[0]] if names else None

    [line] = until(lines)
    assert "[bad]" in line
    assert "server error (500)" in line


@pytest.mark.parametrize("key", ["/in/page.png", "in//page.png", "in/a b?#%20+&.png"])
def test_key_with_special_characters_is_read(local, key):
    local.create_async_endpoint()

    answer = submit(local, InputLocation=local.put_object(key, b"an odd page"))

    assert wait_for_result(local, answer) == b"an odd page"
