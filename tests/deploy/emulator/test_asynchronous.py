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


def submit(emulator, name="ocr", **params):
    """Submit a request, with a page in S3 unless another input is given."""
    if "Body" not in params and "InputLocation" not in params:
        params["InputLocation"] = emulator.put_object("in/page.png", b"page")
    return emulator.runtime.invoke_endpoint_async(EndpointName=name, **params)


def expect_validation_error(emulator, **params):
    """Submit a request that is rejected as invalid; return the error message."""
    with pytest.raises(ClientError) as caught:
        emulator.runtime.invoke_endpoint_async(EndpointName="ocr", **params)
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    return caught.value.response["Error"]["Message"]


def wait_for_result(emulator, response):
    """Wait until the output object exists; return its content."""
    return until(lambda: emulator.get_object(response["OutputLocation"]))


def wait_for_failure(emulator, response):
    """Wait until the failure object exists; return its content."""
    return until(lambda: emulator.get_object(response["FailureLocation"]))


def test_document_in_s3_has_its_result_in_s3(emulator, container):
    emulator.create_async_endpoint()

    response = submit(
        emulator,
        ContentType="image/png",
        Accept="text/markdown",
        CustomAttributes="pages=1",
        InferenceId="mine",
    )

    assert response["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert response["InferenceId"] == "mine"
    assert response["OutputLocation"].startswith(f"s3://{BUCKET}/out/")
    assert response["OutputLocation"].endswith(".out")
    assert response["FailureLocation"].startswith(f"s3://{BUCKET}/failed/")
    assert wait_for_result(emulator, response) == b"page"
    [received] = container.received
    assert received["Content-Type"] == "image/png"
    assert received["Accept"] == "text/markdown"
    assert received["X-Amzn-SageMaker-Custom-Attributes"] == "pages=1"
    assert received["X-Amzn-SageMaker-Inference-Id"] == "mine"


def test_small_document_can_be_in_the_body(emulator):
    emulator.create_async_endpoint()

    response = submit(emulator, Body=b"a small page")

    assert wait_for_result(emulator, response) == b"a small page"


def test_output_object_has_content_type_of_the_response(emulator):
    emulator.create_async_endpoint()

    response = submit(emulator)
    wait_for_result(emulator, response)

    key = response["OutputLocation"].removeprefix(f"s3://{BUCKET}/")
    head = emulator.client("s3").head_object(Bucket=BUCKET, Key=key)
    assert head["ContentType"] == "text/plain"


def test_filename_and_extension_set_the_output_location(emulator):
    emulator.create_async_endpoint()

    response = submit(emulator, Filename="page.json", S3OutputPathExtension="run-7/a")

    assert response["OutputLocation"] == f"s3://{BUCKET}/out/run-7/a/page.json"
    assert wait_for_result(emulator, response) == b"page"


def test_exactly_one_of_body_and_location_is_required(emulator):
    emulator.create_async_endpoint()

    assert "exactly one" in expect_validation_error(emulator)
    assert "exactly one" in expect_validation_error(
        emulator, Body=b"x", InputLocation="s3://b/k"
    )


def test_body_above_128000_bytes_is_rejected(emulator):
    emulator.create_async_endpoint()

    assert "128000" in expect_validation_error(emulator, Body=bytes(128_001))
    assert submit(emulator, Body=bytes(128_000))


def test_real_time_endpoint_rejects_asynchronous_requests(emulator):
    emulator.create_endpoint()

    assert "not asynchronous" in expect_validation_error(emulator, Body=b"x")


@pytest.mark.parametrize(
    ("name", "value"),
    [("InvocationTimeoutSeconds", 3601), ("RequestTTLSeconds", 21_601)],
)
def test_times_out_of_range_are_rejected(emulator, name, value):
    emulator.create_async_endpoint()

    assert name in expect_validation_error(emulator, Body=b"x", **{name: value})


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
def test_parameters_are_checked_against_the_service_model(emulator, name, value):
    emulator.create_async_endpoint()

    assert name in expect_validation_error(emulator, Body=b"x", **{name: value})


def test_input_location_above_1024_characters_is_rejected(emulator):
    emulator.create_async_endpoint()
    long_uri = f"s3://{BUCKET}/{'k' * 1100}"

    assert "InputLocation" in expect_validation_error(emulator, InputLocation=long_uri)


def test_rejected_document_has_the_response_as_failure_object(emulator, container):
    emulator.create_async_endpoint()
    container.reply = lambda received: Reply(b'{"code": "unreadable_document"}', 422)

    response = submit(emulator)

    assert wait_for_failure(emulator, response) == b'{"code": "unreadable_document"}'
    assert emulator.get_object(response["OutputLocation"]) is None
    assert len(container.received) == 1


@pytest.mark.parametrize("reply", [Reply(b"broken", 500), Reply(is_broken=True)])
def test_failed_request_is_not_retried(emulator, container, reply):
    emulator.create_async_endpoint()
    container.reply = lambda received: reply

    response = submit(emulator)

    assert wait_for_failure(emulator, response)
    assert len(container.received) == 1


def test_missing_input_object_fails_without_invocation(emulator, container):
    emulator.create_async_endpoint()

    response = submit(emulator, InputLocation=f"s3://{BUCKET}/nowhere.pdf")

    assert b"Could not access S3 uri" in wait_for_failure(emulator, response)
    assert container.received == []


def test_input_object_above_the_limit_fails(start_emulator, container):
    emulator = start_emulator(container.address, SageMakerLimits(object_bytes=3))
    emulator.create_async_endpoint()

    assert b"more than 3 bytes" in wait_for_failure(emulator, submit(emulator))


def test_request_fails_after_its_invocation_timeout(emulator, container):
    emulator.create_async_endpoint()
    is_over = threading.Event()
    container.reply = lambda received: Reply(b"late" if is_over.wait(20) else b"never")

    response = submit(emulator, InvocationTimeoutSeconds=1)

    assert b"within 1 seconds" in wait_for_failure(emulator, response)
    is_over.set()


def test_endpoint_config_limits_concurrency(emulator, container):
    emulator.create_async_endpoint(concurrency=3)
    release = threading.Event()
    container.reply = lambda received: Reply(b"x" if release.wait(20) else b"")

    responses = [submit(emulator, Body=b"%d" % number) for number in range(8)]
    until(lambda: len(container.received) == 3)
    levels = list(emulator.instance.asynchronous.read_levels())
    assert [level.values["ApproximateBacklogSize"] for level in levels] == [5]
    assert len(container.received) == 3
    release.set()

    for response in responses:
        wait_for_result(emulator, response)
    assert container.max_concurrency == 3
    assert len(container.received) == 8


def test_waiting_request_goes_to_the_next_healthy_container(emulator, container):
    emulator.create_async_endpoint()
    container.ping = 503

    response = submit(emulator)
    until(lambda: container.num_pings > 2)
    assert container.received == []
    container.ping = 200

    assert wait_for_result(emulator, response) == b"page"


def test_request_expires_after_its_ttl(emulator, container):
    emulator.create_async_endpoint()
    container.ping = 503
    processor = RequestProcessor(
        emulator.instance.find_endpoint,
        emulator.backend,
        emulator.instance.logs,
        SageMakerLimits(),
        emulator.instance.metrics,
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

    assert b"expired after 60 s" in emulator.get_object(f"s3://{BUCKET}/failed/old")
    assert container.received == []


def test_failure_without_failure_path_leaves_no_object(emulator, container):
    emulator.create_async_endpoint(has_failure_path=False)
    container.reply = lambda received: Reply(b"no", 500)

    response = submit(emulator)

    assert "FailureLocation" not in response
    until(lambda: any("server error (500)" in line for line in emulator.lines))
    assert emulator.list_keys("failed") == []


def test_failure_suffix_can_be_set(start_emulator, container):
    emulator = start_emulator(
        container.address, assumptions=Assumptions(failure_suffix=".failed")
    )
    emulator.create_async_endpoint()
    container.reply = lambda received: Reply(b"no", 500)

    response = submit(emulator)

    assert response["FailureLocation"].endswith(".failed")
    assert wait_for_failure(emulator, response) == b"no"


def create_topic(emulator, topic_name):
    """Create a topic; return its ARN, and a function that receives its next message.

    The function returns None if there is no message.
    """
    sns, sqs = emulator.client("sns"), emulator.client("sqs")
    topic = sns.create_topic(Name=topic_name)["TopicArn"]
    url = sqs.create_queue(QueueName=topic_name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    sns.subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"]
    )

    def receive_message():
        messages = sqs.receive_message(QueueUrl=url).get("Messages")
        if not messages:
            return None
        return json.loads(json.loads(messages[0]["Body"])["Message"])

    return topic, receive_message


def test_success_and_failure_are_published(emulator, container):
    success_topic, receive_success = create_topic(emulator, "success")
    error_topic, receive_error = create_topic(emulator, "error")
    emulator.create_async_endpoint(SuccessTopic=success_topic, ErrorTopic=error_topic)

    response = submit(emulator, ContentType="image/png", InferenceId="good")
    success_message = until(receive_success)
    container.reply = lambda received: Reply(b"no", 500)
    submit(emulator, InferenceId="bad")
    error_message = until(receive_error)

    assert success_message["invocationStatus"] == "Completed"
    assert success_message["inferenceId"] == "good"
    assert success_message["requestParameters"] == {
        "contentType": "image/png",
        "endpointName": "ocr",
        "inputLocation": f"s3://{BUCKET}/in/page.png",
    }
    assert success_message["responseParameters"] == {
        "contentType": "text/plain",
        "outputLocation": response["OutputLocation"],
    }
    assert "responseBody" not in success_message
    assert (error_message["invocationStatus"], error_message["inferenceId"]) == (
        "Failed",
        "bad",
    )
    assert "server error (500)" in error_message["failureReason"]


def test_notification_includes_small_response_on_request(start_emulator, container):
    emulator = start_emulator(container.address, SageMakerLimits(notified_bytes=4))
    topic, receive_message = create_topic(emulator, "success")
    emulator.create_async_endpoint(
        SuccessTopic=topic, IncludeInferenceResponseIn=["SUCCESS_NOTIFICATION_TOPIC"]
    )

    submit(emulator, Body=b"tiny")
    small_message = until(receive_message)
    submit(emulator, Body=b"larger")
    large_message = until(receive_message)

    assert small_message["responseBody"] == {
        "content": "dGlueQ==",
        "encoding": "BASE64",
    }
    assert "responseBody" not in large_message


def test_response_without_content_length_is_not_stored(emulator, container):
    emulator.create_async_endpoint()
    container.reply = lambda received: Reply(iter([b"page 1\n", b"page 2\n"]))

    response = submit(emulator)

    assert b"has no Content-Length header" in wait_for_failure(emulator, response)
    assert emulator.get_object(response["OutputLocation"]) is None
    assert len(container.received) == 1


def test_failure_of_a_request_is_in_the_data_log(emulator, container):
    emulator.create_async_endpoint()
    container.reply = lambda received: Reply(b"no", 500)
    submit(emulator, InferenceId="bad")

    def read_data_log():
        streams = emulator.read_messages("/aws/sagemaker/Endpoints/ocr")
        names = [name for name in streams if name.endswith("/data-log")]
        return streams[names[0]] if names else None

    [line] = until(read_data_log)
    assert "[bad]" in line
    assert "server error (500)" in line


@pytest.mark.parametrize("key", ["/in/page.png", "in//page.png", "in/a b?#%20+&.png"])
def test_key_with_special_characters_is_read(emulator, key):
    emulator.create_async_endpoint()

    response = submit(emulator, InputLocation=emulator.put_object(key, b"an odd page"))

    assert wait_for_result(emulator, response) == b"an odd page"
