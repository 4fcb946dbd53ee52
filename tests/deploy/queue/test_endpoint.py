"""Endpoint of a queue, and the rights that it needs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from deploy.errors import ConfigError
from deploy.policies import caller_policy, execution_policy
from deploy.queue.endpoint import (
    async_config,
    build_async_endpoint,
    compute_concurrency,
)
from tests.deploy.accounts import (
    IDENTITY,
    configured,
)
from tests.deploy.queue.configs import TOPIC, configure_queue


def test_endpoint_has_own_name_and_model():
    endpoint = build_async_endpoint(configure_queue(), IDENTITY)

    assert endpoint.name == "ocr-async"
    assert endpoint.model.name.startswith("ocr-async-")
    assert endpoint.model.role == IDENTITY.role_arn("ocr-execution")
    assert endpoint.config.request["AsyncInferenceConfig"] == {
        "OutputConfig": {
            "S3OutputPath": "s3://exchange/async/ocr/out",
            "S3FailurePath": "s3://exchange/async/ocr/failed",
        },
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 8},
    }


def test_topics_are_set_if_configured():
    endpoint = build_async_endpoint(
        configure_queue(success_topic=TOPIC, error_topic=TOPIC), IDENTITY
    )

    output = endpoint.config.request["AsyncInferenceConfig"]["OutputConfig"]
    assert output["NotificationConfig"] == {"SuccessTopic": TOPIC, "ErrorTopic": TOPIC}


def test_results_are_encrypted_with_kms_key():
    config = configured(
        asynchronous={"bucket": "exchange"}, network={"kms_key": "alias/ocr"}
    )

    inference = build_async_endpoint(config, IDENTITY).config.request

    output = inference["AsyncInferenceConfig"]["OutputConfig"]
    assert output["KmsKeyId"] == "alias/ocr"


def test_container_environment_describes_use():
    config = replace(
        configure_queue(timeout_seconds=900, sources=["scans/2026"]),
        network=configured(network={"isolation": False}).network,
    )

    environment = build_async_endpoint(config, IDENTITY).model.environment

    assert environment["SERVE_USE"] == "async"
    assert environment["ASYNC_INVOCATION_TIMEOUT_SECONDS"] == "900"
    assert environment["DOCUMENT_BUCKETS"] == "exchange/async/ocr/in,scans/2026"


def test_isolated_container_gets_no_bucket():
    environment = build_async_endpoint(configure_queue(), IDENTITY).model.environment

    assert "DOCUMENT_BUCKETS" not in environment


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["ml.g6e.2xlarge"], 8),
        (["ml.g5.2xlarge"], 2),
        (["ml.p5.4xlarge"], 19),
        (["ml.p5.48xlarge"], 64),
        (["ml.g6e.2xlarge", "ml.g5.2xlarge"], 2),
        (["ml.new.2xlarge"], 2),
    ],
)
def test_concurrency_follows_gpu_memory(kinds, expected):
    config = configured(endpoint={"instance_types": kinds})

    assert compute_concurrency(config) == expected


def test_queue_without_bucket_is_refused():
    with pytest.raises(ConfigError, match=r"asynchronous\.bucket is not set"):
        build_async_endpoint(configured(), IDENTITY)


def test_too_long_name_is_refused():
    with pytest.raises(ConfigError, match="at most 48 characters"):
        async_config(configured(name="a" * 49), IDENTITY)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"timeout_seconds": 3601}, "timeout_seconds must be 1 to 3600"),
        ({"idle_seconds": 240}, "idle_seconds must be 300 to 86400"),
        ({"idle_seconds": 0}, "idle_seconds must be 300 to 86400"),
        ({"min_instances": 3}, "min_instances must be 0 to max_instances"),
        ({"max_instances": 0}, "at least 1"),
        ({"bucket": "s3://exchange"}, "without s3://"),
        ({"sources": ["s3://scans"]}, "bucket or bucket/prefix"),
        ({"error_topic": "ocr"}, "are ARNs"),
    ],
)
def test_invalid_settings_are_refused(settings, words):
    with pytest.raises(ConfigError) as caught:
        configure_queue(**settings)

    assert words in caught.value.message


def test_role_reads_documents_and_writes_results():
    document = execution_policy(
        configure_queue(sources=["scans/2026"], error_topic=TOPIC), IDENTITY
    )
    statements = {s["Sid"]: s for s in document["Statement"]}

    assert statements["Documents"]["Resource"] == [
        "arn:aws:s3:::exchange/async/ocr/in/*",
        "arn:aws:s3:::scans/2026/*",
    ]
    assert statements["Results"]["Resource"] == [
        "arn:aws:s3:::exchange/async/ocr/out/*",
        "arn:aws:s3:::exchange/async/ocr/failed/*",
    ]
    assert statements["Topics"]["Resource"] == [TOPIC]
    assert any("Endpoints/ocr-async" in r for r in statements["Logs"]["Resource"])


def test_policies_without_queue_have_no_queue_rights():
    config = configured()

    for policy in (execution_policy, caller_policy):
        sids = {s["Sid"] for s in policy(config, IDENTITY)["Statement"]}
        assert not sids & {"Documents", "Results", "Exchange", "ScalingRole"}
    assert "ocr-async" not in json.dumps(caller_policy(config, IDENTITY))


def test_caller_policy_allows_the_queue():
    statements = {
        s["Sid"]: s for s in caller_policy(configure_queue(), IDENTITY)["Statement"]
    }

    assert "sagemaker:InvokeEndpointAsync" in statements["Endpoint"]["Action"]
    assert (
        "arn:aws:sagemaker:us-east-1:123456789012:endpoint/ocr-async"
        in (statements["Endpoint"]["Resource"])
    )
    assert "application-autoscaling:PutScalingPolicy" in statements["Scaling"]["Action"]
    assert statements["ScalingRole"]["Action"] == ["iam:CreateServiceLinkedRole"]
