"""Image in the local mode of the SageMaker Python SDK."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from handler.weights.source import MINI
from server.archive import ROOT
from server.host import find_free_ports

pytestmark = [pytest.mark.local_mode, pytest.mark.timeout(900)]


def test_sagemaker_sdk_deploys_the_image_and_reads_a_page(engine, image, tmp_path):
    settings = tmp_path / "config.yaml"
    settings.write_text(
        "SchemaVersion: '1.0'\n"
        "SageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n"
    )
    [port] = find_free_ports(1)

    result = subprocess.run(
        [
            *(os.environ["LOCAL_MODE_PYTHON"], "-P"),
            *(ROOT / "tests" / "container" / "local_mode.py", image),
            *(MINI, ROOT / "samples" / "page.png", str(port), tmp_path),
        ],
        check=False,
        capture_output=True,
        text=True,
        # Invalid credentials, because the test must not reach an account.
        env=engine.environ
        | {
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_EC2_METADATA_DISABLED": "true",
            "SAGEMAKER_USER_CONFIG_OVERRIDE": str(settings),
        },
    )

    lines = [line for line in result.stdout.splitlines() if line.startswith("answer ")]
    assert lines, result.stdout[-3000:] + result.stderr[-3000:]
    answer = json.loads(lines[0].removeprefix("answer "))
    assert answer["status"] == "success"
    assert answer["model"]["id"] == "model"
