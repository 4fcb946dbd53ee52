"""An AWS that answers from a script, or from a server of ours; never the real one."""

from __future__ import annotations

import os
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from deploy.actions import Call
from deploy.aws import AWSClient
from tests.deploy.validator import violations


@pytest.fixture(autouse=True)
def _no_credentials_but_ours(monkeypatch, tmp_path):
    """Whatever a test forgets to inject fails, and reaches nobody's account."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")


def session_of_ours(region: str = "us-east-1") -> boto3.Session:
    return boto3.Session(
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        region_name=region,
    )


class Script:
    """The calls of one service a test expects, in order, and what AWS answers."""

    def __init__(self, client: Any) -> None:
        self._stubber = Stubber(client)
        self._expected: tuple[str, dict[str, Any]] | None = None

    def expects(self, operation: str, **params: Any) -> Script:
        self._expected = (operation, params)
        return self

    def answers(self, **response: Any) -> None:
        assert self._expected is not None
        operation, params = self._expected
        self._stubber.add_response(operation, response, params or None)

    def refuses(self, code: str, message: str = "") -> None:
        assert self._expected is not None
        operation, params = self._expected
        self._stubber.add_client_error(
            operation, code, message, expected_params=params or None
        )

    def __enter__(self) -> Script:
        self._stubber.activate()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._stubber.assert_no_pending_responses()
        self._stubber.deactivate()


@pytest.fixture(scope="session")
def aws() -> AWSClient:
    """One for all tests: boto3 takes a while to make a client."""
    return AWSClient(session_of_ours())


@pytest.fixture
def script(aws):
    """script("sagemaker").expects("describe_endpoint", ...).answers(...)"""
    return lambda service: Script(aws.client(service))


@pytest.fixture(scope="session")
def service_model(aws):
    """What AWS says of a service's requests."""
    return lambda service: aws.client(service).meta.service_model


@pytest.fixture(scope="session")
def refusals(service_model):
    """What AWS would refuse in a call of a plan."""

    def of(call: Call) -> list[str]:
        model = service_model(call.service)
        wanted = call.operation.replace("_", "")
        name = next(n for n in model.operation_names if n.lower() == wanted)
        return list(violations(model.operation_model(name).input_shape, call.params))

    return of
