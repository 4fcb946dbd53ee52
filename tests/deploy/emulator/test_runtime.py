"""Tests of InvokeEndpoint and InvokeEndpointWithResponseStream through boto3."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError, EventStreamError

from deploy.emulator.limits import SageMakerLimits
from tests.deploy.emulator.containers import Reply
from tests.waiting import until


def expect_client_error(call, **params):
    """Call a method of a client that fails; return the error response."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response


def test_invocation_returns_the_response_of_the_container(emulator, container):
    name = emulator.create_endpoint()

    response = emulator.runtime.invoke_endpoint(
        EndpointName=name, ContentType="image/png", Accept="text/plain", Body=b"page"
    )

    assert response["Body"].read() == b"page"
    assert response["ContentType"] == "text/plain"
    assert response["InvokedProductionVariant"] == "AllTraffic"
    [received] = container.received
    assert (received["Content-Type"], received["Accept"]) == ("image/png", "text/plain")


def test_only_documented_request_headers_are_forwarded(emulator, container):
    name = emulator.create_endpoint()

    emulator.runtime.invoke_endpoint(
        EndpointName=name, CustomAttributes="pages=1-3", InferenceId="mine", Body=b"x"
    )

    [received] = container.received
    assert received["X-Amzn-SageMaker-Custom-Attributes"] == "pages=1-3"
    assert received["X-Amzn-SageMaker-Inference-Id"] == "mine"
    assert received["Authorization"] is None
    assert received["User-Agent"] is None
    assert received["X-Amz-Date"] is None


def test_only_documented_response_headers_are_returned(emulator, container):
    name = emulator.create_endpoint()
    attributes = "X-Amzn-SageMaker-Custom-Attributes"
    container.reply = lambda received: Reply(
        headers={attributes: received[attributes] or "", "x-request-id": "17"}
    )

    response = emulator.runtime.invoke_endpoint(
        EndpointName=name, CustomAttributes="pages=1-3", Body=b"x"
    )

    assert response["CustomAttributes"] == "pages=1-3"
    assert "x-request-id" not in response["ResponseMetadata"]["HTTPHeaders"]


def test_custom_attributes_are_returned_only_by_the_container(emulator):
    name = emulator.create_endpoint()

    response = emulator.runtime.invoke_endpoint(
        EndpointName=name, CustomAttributes="pages=1-3", Body=b"x"
    )

    assert "CustomAttributes" not in response


@pytest.mark.parametrize(("status", "source"), [(422, "client"), (503, "server")])
def test_error_status_of_the_container_is_a_model_error(
    emulator, container, status, source
):
    name = emulator.create_endpoint()
    container.reply = lambda received: Reply(b'{"code": "why"}', status)

    response = expect_client_error(
        emulator.runtime.invoke_endpoint, EndpointName=name, Body=b"x"
    )

    assert response["Error"]["Code"] == "ModelError"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == status
    assert response["OriginalMessage"] == '{"code": "why"}'
    assert f"{source} error ({status})" in response["Error"]["Message"]
    assert response["LogStreamArn"].endswith("log-group:/aws/sagemaker/Endpoints/ocr")


def test_body_above_the_limit_is_rejected(start_emulator, container):
    emulator = start_emulator(container.address, SageMakerLimits(body_bytes=1000))
    name = emulator.create_endpoint()

    response = expect_client_error(
        emulator.runtime.invoke_endpoint, EndpointName=name, Body=bytes(1001)
    )

    assert response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert container.received == []
    assert emulator.runtime.invoke_endpoint(EndpointName=name, Body=bytes(1000))


def test_default_limits_are_those_of_sagemaker():
    limits = SageMakerLimits()

    assert limits.body_bytes == 25 * 1024**2
    assert limits.answer_seconds == 60
    assert limits.stream_seconds == 480
    assert limits.inline_bytes == 128_000
    assert limits.object_bytes == 1024**3


def test_late_response_is_a_model_error_with_status_0(start_emulator, container):
    emulator = start_emulator(container.address, SageMakerLimits(answer_seconds=0.3))
    name = emulator.create_endpoint()
    is_over = threading.Event()
    container.reply = lambda received: Reply(b"late" if is_over.wait(20) else b"never")

    response = expect_client_error(
        emulator.runtime.invoke_endpoint, EndpointName=name, Body=b"x"
    )
    is_over.set()

    assert response["OriginalStatusCode"] == 0
    assert "timed out" in response["OriginalMessage"]


def test_time_limit_covers_the_whole_response(start_emulator, container):
    emulator = start_emulator(container.address, SageMakerLimits(answer_seconds=0.5))
    name = emulator.create_endpoint()
    is_over = threading.Event()

    def send_dots():
        while not is_over.wait(0.05):
            yield b"."

    container.reply = lambda received: Reply(send_dots())

    response = expect_client_error(
        emulator.runtime.invoke_endpoint, EndpointName=name, Body=b"x"
    )
    is_over.set()

    assert "timed out" in response["OriginalMessage"]


def test_closed_connection_is_a_model_error(emulator, container):
    name = emulator.create_endpoint()
    container.reply = lambda received: Reply(is_broken=True)

    response = expect_client_error(
        emulator.runtime.invoke_endpoint, EndpointName=name, Body=b"x"
    )

    assert (response["Error"]["Code"], response["OriginalStatusCode"]) == (
        "ModelError",
        0,
    )


def test_unhealthy_container_makes_the_service_unavailable(emulator, container):
    name = emulator.create_endpoint()
    emulator.runtime.invoke_endpoint(EndpointName=name, Body=b"x")
    container.ping = 503

    response = expect_client_error(
        emulator.runtime.invoke_endpoint, EndpointName=name, Body=b"x"
    )

    assert response["Error"]["Code"] == "ServiceUnavailable"
    assert len(container.received) == 1


def test_first_request_waits_for_the_container_to_start(emulator, container):
    name = emulator.create_endpoint()
    container.ping = 503

    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(
            emulator.runtime.invoke_endpoint, EndpointName=name, Body=b"page"
        )
        until(lambda: container.num_pings > 2)
        assert not future.done()
        container.ping = 200

        assert future.result()["Body"].read() == b"page"


def test_endpoint_is_in_service_once_its_container_is_healthy(emulator, container):
    container.ping = 503
    name = emulator.create_endpoint()

    def read_status():
        return emulator.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]

    assert read_status() == "Creating"
    container.ping = 200
    assert read_status() == "InService"
    container.ping = 503
    assert read_status() == "InService"


def test_unknown_endpoint_is_not_found(emulator):
    for call in (
        emulator.runtime.invoke_endpoint,
        emulator.runtime.invoke_endpoint_with_response_stream,
    ):
        response = expect_client_error(call, EndpointName="other", Body=b"x")
        assert response["Error"]["Code"] == "ValidationError"
        assert "not found" in response["Error"]["Message"]


def test_asynchronous_endpoint_rejects_real_time_requests(emulator):
    name = emulator.create_async_endpoint()

    response = expect_client_error(
        emulator.runtime.invoke_endpoint, EndpointName=name, Body=b"x"
    )

    assert response["Error"]["Code"] == "ValidationError"


def test_long_custom_attributes_are_rejected(emulator):
    name = emulator.create_endpoint()

    response = expect_client_error(
        emulator.runtime.invoke_endpoint,
        EndpointName=name,
        CustomAttributes="a" * 1025,
        Body=b"x",
    )

    assert response["Error"]["Code"] == "ValidationError"


def read_chunks(response):
    return [event["PayloadPart"]["Bytes"] for event in response["Body"]]


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ({"TargetVariant": "Other"}, "Variant Other not found"),
        ({"TargetModel": "other.tar.gz"}, "does not support TargetModel"),
        ({"TargetContainerHostname": "other"}, "not support TargetContainerHostname"),
        ({"InferenceComponentName": "other"}, "not support InferenceComponentName"),
    ],
)
def test_missing_targets_are_rejected(emulator, container, target, sentence):
    name = emulator.create_endpoint()

    error = expect_client_error(
        emulator.runtime.invoke_endpoint, EndpointName=name, Body=b"x", **target
    )

    assert error["Error"]["Code"] == "ValidationError"
    assert sentence in error["Error"]["Message"]
    assert container.received == []


def test_target_variant_of_the_endpoint_is_accepted(emulator):
    name = emulator.create_endpoint()

    response = emulator.runtime.invoke_endpoint(
        EndpointName=name, Body=b"x", TargetVariant="AllTraffic"
    )

    assert response["Body"].read() == b"x"


def test_unknown_instance_type_is_rejected(emulator):
    emulator.create_model()

    with pytest.raises(ClientError) as caught:
        emulator.sagemaker.create_endpoint_config(
            EndpointConfigName="ocr",
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic",
                    "ModelName": "ocr",
                    "InstanceType": "ml.g9z.huge",
                    "InitialInstanceCount": 1,
                }
            ],
        )

    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert "ml.g9z.huge" in caught.value.response["Error"]["Message"]


@pytest.mark.parametrize("body", [b"[]", b"{", b"null", b"[" * 100_000])
def test_requests_without_a_json_object_are_rejected(emulator, body):
    request = urllib.request.Request(
        emulator.address,
        data=body,
        headers={
            "X-Amz-Target": "SageMaker.CreateEndpointConfig",
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": "AWS4-HMAC-SHA256 "
            "Credential=a/20261130/us-east-1/sagemaker/aws4_request",
        },
    )

    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)

    assert caught.value.code == 400
    assert b"SerializationException" in caught.value.read()


def test_stream_is_returned_chunk_by_chunk(emulator, container):
    name = emulator.create_endpoint()
    release = threading.Event()

    def send_pages():
        yield b"page 1\n"
        assert release.wait(20)
        yield b"page 2\n"

    container.reply = lambda received: Reply(
        send_pages(), content_type="application/x-ndjson"
    )

    response = emulator.runtime.invoke_endpoint_with_response_stream(
        EndpointName=name, Accept="application/x-ndjson", Body=b"x"
    )
    events = iter(response["Body"])
    first = next(events)["PayloadPart"]["Bytes"]
    release.set()
    rest = [event["PayloadPart"]["Bytes"] for event in events]

    assert (first, rest) == (b"page 1\n", [b"page 2\n"])
    assert response["ContentType"] == "application/x-ndjson"
    assert response["InvokedProductionVariant"] == "AllTraffic"
    assert container.received[0]["Accept"] == "application/x-ndjson"


def test_error_before_the_stream_is_a_model_error(emulator, container):
    name = emulator.create_endpoint()
    container.reply = lambda received: Reply(b"no", 415)

    response = expect_client_error(
        emulator.runtime.invoke_endpoint_with_response_stream,
        EndpointName=name,
        Body=b"x",
    )

    assert response["OriginalStatusCode"] == 415


@pytest.mark.parametrize("is_late", [True, False])
def test_interrupted_stream_ends_with_an_error(start_emulator, container, is_late):
    emulator = start_emulator(
        container.address, SageMakerLimits(stream_seconds=0.5 if is_late else 480)
    )
    name = emulator.create_endpoint()
    is_over = threading.Event()

    def send_one_page():
        yield b"page 1\n"
        if is_late:
            is_over.wait(20)

    container.reply = lambda received: Reply(send_one_page(), is_broken=True)

    response = emulator.runtime.invoke_endpoint_with_response_stream(
        EndpointName=name, Body=b"x"
    )
    with pytest.raises(EventStreamError) as caught:
        read_chunks(response)
    response["Body"].close()
    is_over.set()

    error = caught.value.response["Error"]
    assert error["Code"] == "ModelStreamError"
    assert ("in time" if is_late else "closed") in error["Message"]
