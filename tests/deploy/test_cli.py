"""Arguments in, exit status out."""

from __future__ import annotations

import io
import json

import boto3
import pytest

from deploy import cli
from deploy.aws import AWSClient
from deploy.console import Console
from deploy.errors import NotFoundError


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda c: c.NAME)
def test_every_command_says_what_it_is_for(command):
    assert (command.__doc__ or "").strip().endswith(".")
    assert command.HELP


def test_a_global_flag_goes_before_the_command_or_after_it():
    before = cli.parser().parse_args(["--region", "eu-west-1", "status"])
    after = cli.parser().parse_args(["status", "--region", "eu-west-1"])
    neither = cli.parser().parse_args(["status"])

    assert (before.region, after.region, neither.region) == (
        "eu-west-1",
        "eu-west-1",
        None,
    )


def test_an_unknown_flag_is_a_mistake_of_the_caller(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["deploy", "--instance-typ", "ml.g5.xlarge"])

    assert caught.value.code == 2
    capsys.readouterr()


def run(tmp_path, *arguments, connect=None, as_json=False):
    out, err = io.StringIO(), io.StringIO()
    status = cli.main(
        [*arguments, "--config", str(tmp_path / "chandra.toml")],
        console=Console(as_json=as_json, out=out, err=err),
        **({"connect": connect} if connect else {}),
    )
    return status, out.getvalue(), err.getvalue()


def raising(error):
    def connect(**_):
        raise error

    return connect


def test_an_error_ends_in_the_next_command_to_type(tmp_path):
    status, out, err = run(tmp_path, "status")

    assert status == 2
    assert out == ""
    assert err.splitlines()[-1] == "try:   chandra-sagemaker init"


def test_with_json_an_error_is_one_object(tmp_path):
    status, out, _ = run(tmp_path, "status", as_json=True)

    assert json.loads(out)["error"]["code"] == "bad_config"
    assert json.loads(out)["error"]["exit_code"] == status == 2


def test_a_known_error_ends_with_its_own_status(tmp_path, project):
    status, _, err = run(tmp_path, "status", connect=raising(NotFoundError("no such")))

    assert status == 4
    assert "error: no such" in err


def test_a_bug_shows_where_it_is(tmp_path, project):
    status, _, err = run(tmp_path, "status", connect=raising(ZeroDivisionError()))

    assert status == 3
    assert "ZeroDivisionError" in err
    assert "this is a bug" in err


def test_ctrl_c_before_anything_happened_says_so(tmp_path, project):
    status, _, err = run(tmp_path, "status", connect=raising(KeyboardInterrupt()))

    assert status == 130
    assert "had changed nothing" in err


def test_a_plan_needs_no_credentials(tmp_path, project):
    status, out, err = run(tmp_path, "plan")

    assert status == 0, err
    assert "offline (there are no credentials)" in out
    assert "would create endpoint ocr" in out
    assert "1 x ml.g6e.2xlarge: $2.80 an hour, $67.20 a day, $2,044.00 a month" in out


def test_a_plan_needs_no_network(tmp_path, project):
    def connect(**_):
        return AWSClient(
            boto3.Session("testing", "testing", region_name="us-east-1"),
            endpoint_url="http://127.0.0.1:9",
            num_attempts=1,
        )

    status, out, err = run(tmp_path, "plan", connect=connect)

    assert status == 0, err
    assert "AWS cannot be reached" in out
    assert "would create endpoint ocr" in out


def test_a_plan_for_a_t4_is_refused_with_the_reason(tmp_path, project):
    status, out, _ = run(tmp_path, "plan", "--instance-type", "ml.g4dn.xlarge")

    assert status == 1
    assert "T4 with 16 GB; the weights take 17.5 GB" in out


def test_what_needs_credentials_says_that_there_are_none(tmp_path, project):
    status, _, err = run(tmp_path, "deploy")

    assert status == 2
    assert "there are no AWS credentials" in err
