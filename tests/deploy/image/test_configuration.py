"""Platform and CUDA version in the configuration of an image."""

from __future__ import annotations

import json

import pytest

from deploy.image.configuration import parse_configuration
from tests.deploy.images import image_config


def parse(**settings):
    return parse_configuration(json.loads(image_config(**settings)))


@pytest.mark.parametrize(
    ("labels", "env", "cuda", "source"),
    [
        ({"chandra.cuda-version": "12.8"}, [], "12.8", "label chandra.cuda-version"),
        ({}, ["PATH=/bin", "CUDA_VERSION=12.4.1"], "12.4", "CUDA_VERSION"),
        ({"com.nvidia.cuda.version": "11.8.0"}, [], "11.8",
         "label com.nvidia.cuda.version"),
        ({"cuda": "13.0"}, [], "13.0", "label cuda"),
        (None, ["NVIDIA_REQUIRE_CUDA=cuda>=13.0"], "13.0", "NVIDIA_REQUIRE_CUDA"),
        (None, ["NVIDIA_REQUIRE_CUDA=cuda>=12.4 brand=tesla,driver>=470,driver<471"],
         "12.4", "NVIDIA_REQUIRE_CUDA"),
        (None, ["NVIDIA_REQUIRE_CUDA=brand=tesla,cuda>=13.0 cuda>=12.6"], "12.6",
         "NVIDIA_REQUIRE_CUDA"),
        # What was built with the image is believed before what its base image says.
        ({"chandra.cuda-version": "12.8"}, ["CUDA_VERSION=12.1.0"], "12.8",
         "label chandra.cuda-version"),
        # The container runtime refuses to start the image on an older driver.
        ({"chandra.cuda-version": "12.8"}, ["NVIDIA_REQUIRE_CUDA=cuda>=13.0"], "13.0",
         "NVIDIA_REQUIRE_CUDA"),
        ({"cuda": "latest"}, ["CUDA_VERSION="], None, None),
        # Our own image for processors.
        ({"chandra.cuda-version": "none"}, [], None, None),
        ({}, [], None, None),
        (None, ["NVIDIA_REQUIRE_CUDA="], None, None),
    ],
)  # fmt: skip
def test_cuda_is_read_from_labels_and_variables(labels, env, cuda, source):
    parsed = parse(labels=labels, env=env)

    assert (parsed.cuda, parsed.cuda_source) == (cuda, source)


@pytest.mark.parametrize(
    ("platform", "runs"),
    [
        ("linux/amd64", True),
        ("linux/arm64", False),
        ("windows/amd64", False),
        ("linux/386", False),
    ],
)
def test_only_linux_amd64_runs_on_sagemaker(platform, runs):
    parsed = parse(platform=platform)

    assert (parsed.platform, parsed.runs_on_sagemaker) == (platform, runs)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"os": 1, "architecture": None},
        {"config": None},
        {"config": {"Labels": ["a"], "Env": "CUDA_VERSION=1.0"}},
        {"config": {"Labels": {"cuda": 13}, "Env": [None, 3, "CUDA_VERSION"]}},
    ],
)
def test_malformed_configuration_gives_no_cuda(content):
    parsed = parse_configuration(content)

    assert (parsed.platform, parsed.cuda) == ("unknown/unknown", None)
