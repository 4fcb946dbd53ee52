"""Tests of `chandra-sagemaker local` as a process."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import boto3
import psutil
import pytest

from deploy.aws import AWSClient
from deploy.cli import main
from deploy.console import Console
from tests.deploy.accounts import IMAGE
from tests.deploy.conftest import stage
from tests.deploy.contents import PDF, PNG
from tests.deploy.emulator.conftest import CLIENT_CREDENTIALS, REGION
from tests.deploy.emulator.test_containers import PROGRAM
from tests.deploy.images import publish
from tests.server.processes import is_alive, list_family
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def run_in_background(tmp_path, *arguments):
    """Run `local`; yield the process and the JSON object that it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy", "local", "--json", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        lines = []
        while (line := process.stdout.readline()) and line != "}\n":
            lines.append(line)
        assert line, process.stderr.read()
        yield process, json.loads("".join([*lines, line]))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def run_local(tmp_path, *arguments, program=("-m", "deploy")):
    """Run `chandra-sagemaker local` until it ends; return the completed process."""
    return subprocess.run(
        [sys.executable, *program, "local", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def create_client(service, output):
    return boto3.client(
        service,
        endpoint_url=output["address"],
        region_name=REGION,
        **CLIENT_CREDENTIALS,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_emulator_serves_its_address_until_a_signal(tmp_path, container, number):
    running = run_in_background(tmp_path, "--port", "0", "--server", container.address)
    with running as (process, output):
        response = create_client("sagemaker-runtime", output).invoke_endpoint(
            EndpointName=output["made"]["endpoint"], Body=b"page"
        )
        assert response["Body"].read() == b"page"

        process.send_signal(number)

        assert process.wait(30) == 0


def test_sample_resources_work(tmp_path, container):
    running = run_in_background(tmp_path, "--port", "0", "--server", container.address)
    with running as (_, output):
        samples, s3 = output["made"], create_client("s3", output)
        s3.put_object(Bucket=samples["bucket"], Key="in/page.png", Body=b"page")
        response = create_client("sagemaker-runtime", output).invoke_endpoint_async(
            EndpointName=samples["async_endpoint"],
            InputLocation=f"s3://{samples['bucket']}/in/page.png",
        )
        create_client("sagemaker", output).create_transform_job(
            TransformJobName="job",
            ModelName=samples["batch_model"],
            TransformInput={
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": f"s3://{samples['bucket']}/in/",
                    }
                }
            },
            TransformOutput={"S3OutputPath": f"s3://{samples['bucket']}/out"},
            TransformResources={"InstanceType": "ml.g5.xlarge", "InstanceCount": 1},
        )

        def list_keys():
            objects = s3.list_objects_v2(Bucket=samples["bucket"])["Contents"]
            return {item["Key"] for item in objects}

        key = response["OutputLocation"].removeprefix(f"s3://{samples['bucket']}/")
        until(lambda: {key, "out/page.png.out"} <= list_keys())


def run_command(tmp_path, output, *arguments):
    """Run a command with the environment that `local` printed."""
    return subprocess.run(
        [sys.executable, "-m", "deploy", *arguments],
        cwd=tmp_path,
        env={**os.environ, **output["environment"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


# The scripted container writes no log, which the command waits for.
@pytest.mark.slow
def test_commands_work_in_an_empty_folder_after_init(tmp_path, container):
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "page.png").write_bytes(PNG + b"page")
    arguments = ("--init", "--port", "0", "--server", container.address)
    with run_in_background(tmp_path, *arguments) as (_, output):
        bucket = output["made"]["bucket"]
        results = {
            " ".join(words[:2]): run_command(tmp_path, output, *words)
            for words in (
                ("status",),
                ("invoke", "papers/page.png", "-o", "page.md", "--format", "md"),
                ("async", "submit", "papers", "--format", "md"),
                ("async", "wait", "--timeout", "60"),
                ("async", "fetch", "--into", "markdown"),
                ("transform", "start", "papers", f"s3://{bucket}/md/"),
            )
        }

    for words, command in results.items():
        assert "error:" not in command.stderr, (words, command.stderr)
    assert output["wrote"] == "chandra.toml"
    assert "asynchronous   chandra-async" in results["status"].stdout
    assert (tmp_path / "markdown" / "page.png.md").read_bytes() == PNG + b"page"
    assert "1 of 1 documents read" in results["transform start"].stdout


def test_sample_endpoint_can_be_updated(tmp_path, container):
    arguments = ("--init", "--port", "0", "--server", container.address)
    with run_in_background(tmp_path, *arguments) as (_, output):
        update = ("update", "--instance-type", "ml.g6e.4xlarge", "--dry-run")
        result = run_command(tmp_path, output, *update)

    assert result.returncode == 0, result.stderr
    assert "would update endpoint chandra" in result.stdout


def test_init_keeps_an_existing_chandra_toml(tmp_path, container):
    path = tmp_path / "chandra.toml"
    path.write_text('name = "mine"\n')
    arguments = ("--init", "--port", "0", "--server", container.address)
    with run_in_background(tmp_path, *arguments) as (_, output):
        pass

    assert output["wrote"] is None
    assert path.read_text() == 'name = "mine"\n'


def test_init_and_empty_are_rejected_together(tmp_path):
    result = run_local(tmp_path, "--init", "--empty", "--port", "0")

    assert result.returncode == 2
    assert "--init writes settings for the sample resources" in result.stderr
    assert not (tmp_path / "chandra.toml").exists()


def test_containers_end_with_the_emulator(tmp_path):
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").touch()
    (tmp_path / "server" / "container.py").write_text(PROGRAM.read_text())
    archive = "import sys, pathlib; pathlib.Path('model-store').mkdir(exist_ok=True)"
    (tmp_path / "server" / "__main__.py").write_text(archive)
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    with run_in_background(tmp_path, "--port", "0", "--weights", "weights") as (
        process,
        output,
    ):
        response = create_client("sagemaker-runtime", output).invoke_endpoint(
            EndpointName="chandra", Body=b"who are you?"
        )
        reply = json.loads(response["Body"].read())
        pids = [member.pid for member in list_family(process.pid)]
        assert reply["pid"] in pids
        assert psutil.pid_exists(reply["child"])
        assert reply["environ"]["MODEL_DIR"] == str(weights)
        assert reply["environ"]["SERVE_USE"] == "realtime"

        process.send_signal(signal.SIGTERM)
        process.wait(60)

        assert not any(map(is_alive, [*pids, reply["child"]]))


@pytest.fixture
def chandra(emulator, project, hub, tmp_path):
    """Return a function that runs other commands against the emulator."""

    def connect(**_):
        return AWSClient(
            boto3.Session(region_name=REGION, **CLIENT_CREDENTIALS),
            endpoint_url=emulator.address,
        )

    stage(connect(), hub)
    publish(connect(), IMAGE)

    def run(*arguments):
        out, err = io.StringIO(), io.StringIO()
        status = main(
            [*arguments, "--config", str(tmp_path / "chandra.toml")],
            console=Console(assume_yes=True, out=out, err=err),
            connect=connect,
            sleep=lambda seconds: time.sleep(0.05),
        )
        return status, out.getvalue(), err.getvalue()

    return run


def test_deploy_invoke_update_and_destroy_work(chandra, container, emulator, tmp_path):
    container.ping = 503

    def recover():
        until(lambda: container.num_pings > 1, 60)
        container.ping = 200

    threading.Thread(target=recover).start()
    (tmp_path / "page.png").write_bytes(PDF + b"page")

    status, out, err = chandra("deploy")
    assert status == 0, err
    assert container.ping == 200
    status, out, err = chandra("invoke", str(tmp_path / "page.png"))
    assert (status, out) == (0, "%PDF-1.7\npage"), err
    status, out, err = chandra("update", "--instance-type", "ml.g6e.4xlarge")
    assert status == 0, err
    status, out, err = chandra("status")
    assert "ml.g6e.4xlarge" in out, err
    status, out, err = chandra("destroy")
    assert status == 0, err

    assert emulator.sagemaker.list_endpoints()["Endpoints"] == []


def test_printed_environment_is_complete(tmp_path, container):
    running = run_in_background(tmp_path, "--port", "0", "--server", container.address)
    with running as (_, output):
        assert output["environment"] == {
            "AWS_ENDPOINT_URL": output["address"],
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }


def test_missing_moto_is_reported_with_install_command(tmp_path):
    program = "import sys; sys.modules['moto'] = None; from deploy.cli import main; "
    result = run_local(
        tmp_path, program=("-c", program + "sys.exit(main(sys.argv[1:]))")
    )

    assert result.returncode == 2
    assert "moto's server is not installed" in result.stderr
    assert "pip install 'moto[server]'" in result.stderr


@pytest.mark.parametrize("port", ["99999", "-1", "http", "65536"])
def test_ports_out_of_range_are_rejected_without_traceback(tmp_path, port):
    result = run_local(tmp_path, f"--port={port}")

    assert result.returncode == 2
    assert f"{port} is not a port" in result.stderr
    assert "Traceback" not in result.stderr


def test_port_in_use_is_reported(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        result = run_local(tmp_path, "--port", port, "--server", "http://127.0.0.1:9")

    assert result.returncode == 2
    assert f"port {port} cannot be used" in result.stderr


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("retries=3", "retries is not one of retried_statuses"),
        ("concurrency=many", "give a value like 4"),
        ("output_naming=mine", "relative or full"),
    ],
)
def test_invalid_assumptions_are_rejected(tmp_path, pair, message):
    result = run_local(tmp_path, "--dry-run", "--assume", pair)

    assert result.returncode == 2
    assert message in result.stderr


def test_dry_run_prints_the_assumptions(tmp_path):
    result = run_local(tmp_path, "--dry-run", "--json", "--assume", "concurrency=2")

    assert json.loads(result.stdout)["assumed"]["concurrency"] == 2


def test_missing_weights_are_reported(tmp_path):
    result = run_local(tmp_path, "--port", "0", "--weights", "nowhere")

    assert result.returncode == 2
    assert "is not a folder of weights" in result.stderr
