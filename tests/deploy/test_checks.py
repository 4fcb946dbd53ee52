"""Preflight checks of the configuration."""

from __future__ import annotations

import pytest

from deploy.checks import config_findings, quota_findings, quota_name
from deploy.machines.catalogue import AMIS, INSTANCES
from tests.deploy.accounts import configured


def fatal_findings(**tables):
    return [f for f in config_findings(configured(**tables)) if f.is_fatal]


def test_the_default_deployment_passes():
    assert config_findings(configured()) == []


@pytest.mark.parametrize("kind", ["ml.g4dn.xlarge", "ml.g4dn.12xlarge"])
def test_a_t4_is_refused_with_the_reason(kind):
    (finding,) = fatal_findings(endpoint={"instance_types": [kind]})

    assert "T4 with 16 GB; the weights take 17.5 GB" in finding.sentence
    assert "no bfloat16" in finding.sentence
    assert "ml.g5.2xlarge" in (finding.hint or "")


def test_a_t4_is_refused_for_small_weights_too():
    (finding,) = fatal_findings(
        endpoint={"instance_types": ["ml.g4dn.xlarge"]}, model={"weights_gb": 8}
    )

    assert "no bfloat16" in finding.sentence


def test_an_image_for_cuda_13_is_refused_on_an_older_driver():
    (finding,) = fatal_findings(image={"cuda": "13.0"})

    assert "would die without a log line" in finding.sentence
    assert (
        fatal_findings(
            image={"cuda": "13.0"},
            endpoint={"ami": "al2023-ami-sagemaker-inference-gpu-4-1"},
        )
        == []
    )


def test_blackwell_is_refused_without_its_driver():
    (finding,) = fatal_findings(endpoint={"instance_types": ["ml.g7e.2xlarge"]})

    assert "needs driver 580" in finding.sentence


def test_volume_size_is_rejected_with_local_disks():
    (finding,) = fatal_findings(endpoint={"volume_gb": 200})

    assert "SageMaker rejects endpoint.volume_gb" in finding.sentence


def test_unknown_instance_type_is_reported_as_unchecked():
    (finding,) = config_findings(
        configured(endpoint={"instance_types": ["ml.g6.4xlarge"]})
    )

    assert not finding.is_fatal
    assert "neither was checked" in finding.sentence


def test_an_unknown_ami_is_refused():
    assert fatal_findings(endpoint={"ami": "ami-1"})


def test_a_quota_of_zero_is_refused():
    quotas = {quota_name("ml.g5.2xlarge"): 0.0}

    (finding,) = quota_findings({"ml.g5.2xlarge": 1}, quotas, hint="raise it")

    assert finding.is_fatal
    assert "may run 0 ml.g5.2xlarge" in finding.sentence


def test_one_type_within_its_quota_is_enough():
    quotas = {quota_name("ml.g5.2xlarge"): 0.0, quota_name("ml.g6e.2xlarge"): 1.0}

    findings = quota_findings(
        {"ml.g5.2xlarge": 1, "ml.g6e.2xlarge": 1}, quotas, hint="raise it"
    )

    assert [f.is_fatal for f in findings] == [False]


def test_names_of_the_catalogue_exist_in_sagemaker(service_model):
    sagemaker = service_model("sagemaker")

    assert set(INSTANCES) <= set(
        sagemaker.shape_for("ProductionVariantInstanceType").enum
    )
    assert set(AMIS) <= set(
        sagemaker.shape_for("ProductionVariantInferenceAmiVersion").enum
    )


def test_an_image_of_another_region_is_refused():
    (finding,) = fatal_findings(region="eu-west-1")

    assert "the image is in us-east-1" in finding.sentence
    assert finding.hint == "chandra-sagemaker image push"
