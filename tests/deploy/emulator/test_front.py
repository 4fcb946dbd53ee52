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
from tests.deploy.emulator.conftest import BUCKET, KEYS, REGION, Local


def test_objects_of_all_sizes_are_stored_and_read(local):
    s3 = local.client("s3")

    for size in (0, 1, 3 << 20):
        s3.put_object(Bucket=BUCKET, Key="object", Body=b"x" * size)
        head = s3.head_object(Bucket=BUCKET, Key="object")
        assert head["ContentLength"] == size
        assert local.get_object(f"s3://{BUCKET}/object") == b"x" * size


def test_multipart_upload_is_stored(local):
    content = bytes(range(256)) * (6 << 12)

    local.client("s3").upload_fileobj(
        io.BytesIO(content),
        BUCKET,
        "large",
        Config=TransferConfig(multipart_threshold=1, multipart_chunksize=5 << 20),
    )

    assert local.get_object(f"s3://{BUCKET}/large") == content


def test_range_request_returns_part_of_an_object(local):
    local.put_object("object", b"0123456789")

    answer = local.client("s3").get_object(
        Bucket=BUCKET, Key="object", Range="bytes=2-4"
    )

    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert answer["Body"].read() == b"234"


def test_presigned_url_returns_the_object(local):
    local.put_object("object", b"content")
    url = local.client("s3").generate_presigned_url(
        "get_object", Params={"Bucket": BUCKET, "Key": "object"}
    )

    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"content"


def test_deleting_an_object_returns_no_content(local):
    local.put_object("object", b"content")

    answer = local.client("s3").delete_object(Bucket=BUCKET, Key="object")

    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert local.list_keys() == []


def test_bucket_may_be_named_like_an_emulated_path(local):
    local.client("s3").create_bucket(Bucket="endpoints")

    uri = local.put_object("ocr/invocations", b"no document", bucket="endpoints")

    assert local.get_object(uri) == b"no document"


def test_error_of_the_backend_is_forwarded(local):
    with pytest.raises(ClientError) as caught:
        local.sagemaker.describe_endpoint(EndpointName="other")

    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_services_of_other_protocols_are_forwarded(local):
    scaling = local.client("application-autoscaling")
    local.create_endpoint()
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/ocr/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }

    scaling.register_scalable_target(MinCapacity=0, MaxCapacity=2, **target)
    alarms = local.client("cloudwatch").describe_alarms()
    found = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")

    assert alarms["MetricAlarms"] == []
    assert found["ScalableTargets"][0]["MaxCapacity"] == 2
    assert local.client("sts").get_caller_identity()["Account"] == "123456789012"
    assert local.client("iam").list_roles()["Roles"] == []


def test_unreachable_backend_is_reported(container):
    def connect(region, url):
        return AWSClient.connect(region=region, endpoint_url=url, credentials=KEYS)

    emulator = Emulator(
        Backend("http://127.0.0.1:9", connect),
        server=container.address,
        region=REGION,
        print_line=lambda text: None,
    )
    emulator.start()
    client = boto3.client(
        "sagemaker",
        endpoint_url=emulator.address,
        region_name=REGION,
        config=Config(retries={"total_max_attempts": 1}),
        **KEYS,
    )
    with pytest.raises(ClientError, match="does not respond"):
        client.list_endpoints()
    emulator.close()


def test_s3_can_be_on_another_server(account, local):
    """Only requests to S3 reach the server of `s3_url`."""

    def connect(region, url):
        return AWSClient.connect(region=region, endpoint_url=url, credentials=KEYS)

    backend = Backend("http://127.0.0.1:9", connect, s3_url=account.address)
    emulator = Emulator(
        backend,
        server="http://127.0.0.1:9",
        region=REGION,
        print_line=lambda text: None,
    )
    emulator.start()
    other = Local(emulator, [])

    other.put_object("object", b"content")

    assert local.get_object(f"s3://{BUCKET}/object") == b"content"
    emulator.close()
