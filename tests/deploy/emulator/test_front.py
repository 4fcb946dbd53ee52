"""Tests of requests that the emulator forwards to the backend."""

from __future__ import annotations

import io
import urllib.request

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from deploy.aws import AWSClient
from deploy.emulator.backend import Backend
from deploy.emulator.emulator import Emulator
from tests.deploy.emulator.conftest import (
    BUCKET,
    CLIENT_CREDENTIALS,
    REGION,
    RunningEmulator,
)


def test_objects_of_all_sizes_are_stored_and_read(emulator):
    s3 = emulator.client("s3")

    for size in (0, 1, 3 << 20):
        s3.put_object(Bucket=BUCKET, Key="object", Body=b"x" * size)
        head = s3.head_object(Bucket=BUCKET, Key="object")
        assert head["ContentLength"] == size
        assert emulator.get_object(f"s3://{BUCKET}/object") == b"x" * size


def test_multipart_upload_is_stored(emulator):
    content = bytes(range(256)) * (6 << 12)

    emulator.client("s3").upload_fileobj(
        io.BytesIO(content),
        BUCKET,
        "large",
        Config=TransferConfig(multipart_threshold=1, multipart_chunksize=5 << 20),
    )

    assert emulator.get_object(f"s3://{BUCKET}/large") == content


def test_range_request_returns_part_of_an_object(emulator):
    emulator.put_object("object", b"0123456789")

    response = emulator.client("s3").get_object(
        Bucket=BUCKET, Key="object", Range="bytes=2-4"
    )

    assert response["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert response["Body"].read() == b"234"


def test_presigned_url_returns_the_object(emulator):
    emulator.put_object("object", b"content")
    url = emulator.client("s3").generate_presigned_url(
        "get_object", Params={"Bucket": BUCKET, "Key": "object"}
    )

    with urllib.request.urlopen(url) as response:
        assert response.read() == b"content"


def test_deleting_an_object_returns_no_content(emulator):
    emulator.put_object("object", b"content")

    response = emulator.client("s3").delete_object(Bucket=BUCKET, Key="object")

    assert response["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert emulator.list_keys() == []


def test_bucket_may_be_named_like_an_emulated_path(emulator):
    emulator.client("s3").create_bucket(Bucket="endpoints")

    uri = emulator.put_object("ocr/invocations", b"no document", bucket="endpoints")

    assert emulator.get_object(uri) == b"no document"


def test_error_of_the_backend_is_forwarded(emulator):
    with pytest.raises(ClientError) as caught:
        emulator.sagemaker.describe_endpoint(EndpointName="other")

    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_services_of_other_protocols_are_forwarded(emulator):
    scaling = emulator.client("application-autoscaling")
    emulator.create_endpoint()
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/ocr/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }

    scaling.register_scalable_target(MinCapacity=0, MaxCapacity=2, **target)
    alarms = emulator.client("cloudwatch").describe_alarms()
    targets = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")

    assert alarms["MetricAlarms"] == []
    assert targets["ScalableTargets"][0]["MaxCapacity"] == 2
    assert emulator.client("sts").get_caller_identity()["Account"] == "123456789012"
    assert emulator.client("iam").list_roles()["Roles"] == []


def test_unreachable_backend_is_reported(container):
    def connect(region, url):
        return AWSClient.connect(
            region=region, endpoint_url=url, credentials=CLIENT_CREDENTIALS
        )

    disconnected = Emulator(
        Backend("http://127.0.0.1:9", connect),
        server=container.address,
        region=REGION,
        print_line=lambda text: None,
    )
    disconnected.start()
    client = boto3.client(
        "sagemaker",
        endpoint_url=disconnected.address,
        region_name=REGION,
        config=Config(retries={"total_max_attempts": 1}),
        **CLIENT_CREDENTIALS,
    )
    with pytest.raises(ClientError, match="does not respond"):
        client.list_endpoints()
    disconnected.close()


def test_s3_can_be_on_another_server(account, emulator):
    """Only requests to S3 reach the server of `s3_url`."""

    def connect(region, url):
        return AWSClient.connect(
            region=region, endpoint_url=url, credentials=CLIENT_CREDENTIALS
        )

    backend = Backend("http://127.0.0.1:9", connect, s3_url=account.address)
    with_other_s3 = Emulator(
        backend,
        server="http://127.0.0.1:9",
        region=REGION,
        print_line=lambda text: None,
    )
    with_other_s3.start()
    client_of_other = RunningEmulator(with_other_s3, [])

    client_of_other.put_object("object", b"content")

    assert emulator.get_object(f"s3://{BUCKET}/object") == b"content"
    with_other_s3.close()
