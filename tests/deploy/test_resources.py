"""Requests to SageMaker, and names that follow from their contents."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from deploy.errors import ConfigError
from deploy.resources import OWNER_TAG, endpoint_from
from tests.deploy.accounts import IDENTITY, IMAGE, OTHER_IMAGE, configured


def resources_of(**tables):
    return endpoint_from(configured(**tables), IDENTITY)


def test_names_end_in_a_digest_and_fit():
    endpoint = resources_of(name="a" * 54)

    for name in (endpoint.model.name, endpoint.config.name):
        assert re.fullmatch(r"a{54}-[0-9a-f]{8}", name)


def test_the_same_contents_have_the_same_name():
    assert resources_of().config.name == resources_of().config.name


@pytest.mark.parametrize(
    "change",
    [
        {"image": {"uri": OTHER_IMAGE}},
        {"model": {"revision": "fed987"}},
        {"role": "arn:aws:iam::123456789012:role/other"},
        {"endpoint": {"environment": {"CHANDRA_MAX_PAGES": 10}}},
        {"endpoint": {"startup_timeout_seconds": 3600}},
        {"network": {"subnets": ["s"], "security_groups": ["g"]}},
    ],
)
def test_change_of_the_model_changes_both_names(change):
    assert resources_of(**change).model.name != resources_of().model.name
    assert resources_of(**change).config.name != resources_of().config.name


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": {"instance_types": ["ml.g5.2xlarge"]}},
        {"endpoint": {"instance_count": 2}},
        {"endpoint": {"download_timeout_seconds": 3600}},
        {"network": {"kms_key": "alias/ocr"}},
        {"capture": {"uri": "s3://captured/ocr"}},
    ],
)
def test_machines_change_only_the_config_name(change):
    assert resources_of(**change).model.name == resources_of().model.name
    assert resources_of(**change).config.name != resources_of().config.name


def test_tags_change_no_name():
    assert resources_of(tags={"team": "ocr"}).config.name == resources_of().config.name


def test_weights_prefix_of_a_model_ends_in_a_slash():
    request = resources_of().model.request

    assert request["PrimaryContainer"]["ModelDataSource"]["S3DataSource"] == {
        "S3Uri": "s3://weights/models/datalab-to/chandra/0123abc/",
        "S3DataType": "S3Prefix",
        "CompressionType": "None",
    }
    assert request["EnableNetworkIsolation"] is True
    assert request["PrimaryContainer"]["Image"] == IMAGE
    assert {"Key": OWNER_TAG, "Value": "ocr"} in request["Tags"]


def test_weights_from_the_hub_need_no_bucket():
    endpoint = resources_of(
        model={"source": "hub", "bucket": "unused"}, network={"isolation": False}
    )

    container = endpoint.model.request["PrimaryContainer"]
    assert "ModelDataSource" not in container
    assert container["Environment"]["MODEL_REVISION"] == "0123abc"


def test_a_variant_names_its_driver_its_timeouts_and_its_routing():
    variant = resources_of().variant.request

    assert variant["InferenceAmiVersion"] == "al2-ami-sagemaker-inference-gpu-3-1"
    assert variant["ContainerStartupHealthCheckTimeoutInSeconds"] == 1200
    assert variant["ModelDataDownloadTimeoutInSeconds"] == 1200
    assert variant["RoutingConfig"] == {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}
    assert variant["InstanceType"] == "ml.g6e.2xlarge"


@pytest.mark.parametrize(("startup", "load"), [(1200, "1140"), (60, "30")])
def test_container_timeout_is_within_sagemakers(startup, load):
    environment = resources_of(
        endpoint={"startup_timeout_seconds": startup}
    ).model.environment

    assert environment["STARTUP_TIMEOUT_SECONDS"] == str(startup)
    assert environment["CHANDRA_LOAD_SECONDS"] == load


def test_variable_in_the_file_overrides_ours():
    endpoint = resources_of(endpoint={"environment": {"CHANDRA_LOAD_SECONDS": 100}})

    assert endpoint.model.environment["CHANDRA_LOAD_SECONDS"] == "100"


def test_several_instance_types_are_a_pool_in_order():
    variant = resources_of(
        endpoint={"instance_types": ["ml.g6e.2xlarge", "ml.g5.2xlarge"]}
    ).variant.request

    assert "InstanceType" not in variant
    assert variant["InstancePools"] == [
        {"InstanceType": "ml.g6e.2xlarge", "Priority": 1},
        {"InstanceType": "ml.g5.2xlarge", "Priority": 2},
    ]


def test_data_capture_is_off_by_default():
    assert "DataCaptureConfig" not in resources_of().config.request


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ({"image": {"uri": None}}, "image push"),
        ({"model": {"revision": None}}, "model stage"),
        ({"model": {"bucket": None}}, "model stage"),
    ],
)
def test_missing_image_or_weights_name_the_command(table, hint):
    name, values = next(iter(table.items()))
    config = configured()

    lacking = replace(config, **{name: replace(getattr(config, name), **values)})

    with pytest.raises(ConfigError) as caught:
        endpoint_from(lacking, IDENTITY)

    assert hint in (caught.value.hint or "")
