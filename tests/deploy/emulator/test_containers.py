"""Tests of containers that the emulator starts, with a small program as server.

test_real_server.py starts the real server.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

from deploy.emulator.emulator import ServerProgram
from deploy.emulator.limits import Assumptions, SageMakerLimits
from tests.deploy.emulator.conftest import BUCKET
from tests.deploy.emulator.jobs import create_job, wait_for_job
from tests.server.processes import is_alive
from tests.waiting import until

PROGRAM = Path(__file__).with_name("program.py")


def create_program(*command: str, weights: str | None = "/weights") -> ServerProgram:
    """Return a command in place of the real server: by default, that of program.py."""
    return ServerProgram(
        PROGRAM.parent,
        weights,
        {"AWS_ACCESS_KEY_ID": "local"},
        command or (sys.executable, str(PROGRAM)),
    )


@pytest.fixture
def emulator(start_emulator):
    return start_emulator(
        create_program(),
        SageMakerLimits(stop_seconds=5),
        Assumptions(retry_seconds=0.01),
    )


def describe_process(emulator, name="ocr"):
    """Invoke an endpoint; return process ids and environment of its container."""
    response = emulator.runtime.invoke_endpoint(EndpointName=name, Body=b"who are you?")
    return json.loads(response["Body"].read())


def get_only_container(emulator):
    """Return the only container of the emulator."""
    [container] = emulator.instance.fleet.list_containers()
    return container


def test_container_has_the_environment_of_sagemaker(emulator):
    emulator.create_endpoint("ocr", model={"Environment": {"SERVE_USE": "realtime"}})

    environ = describe_process(emulator)["environ"]

    assert environ["SERVE_USE"] == "realtime"
    assert environ["SAGEMAKER_BIND_TO_PORT"].isdigit()
    assert environ["AWS_REGION"] == environ["AWS_DEFAULT_REGION"] == "us-east-1"
    assert environ["AWS_ENDPOINT_URL"] == emulator.address
    assert "SAGEMAKER_BATCH" not in environ


def test_local_weights_replace_those_of_the_model(emulator):
    environment = {"MODEL_ID": "datalab-to/chandra", "MODEL_REVISION": "c0ffee"}
    emulator.create_endpoint("ocr", model={"Environment": environment})

    environ = describe_process(emulator)["environ"]

    assert environ["MODEL_DIR"] == "/weights"
    assert "MODEL_ID" not in environ
    assert "MODEL_REVISION" not in environ


def test_model_weights_are_kept_without_local_weights(start_emulator):
    emulator = start_emulator(create_program(weights=None))
    emulator.create_endpoint(
        "ocr", model={"Environment": {"MODEL_S3_URI": "s3://weights/1/"}}
    )

    environ = describe_process(emulator)["environ"]

    assert environ["MODEL_S3_URI"] == "s3://weights/1/"
    assert "MODEL_DIR" not in environ


def test_container_does_not_inherit_the_emulators_variables(emulator, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_TERMINAL", "1")
    emulator.create_endpoint()

    assert "SECRET_OF_THE_TERMINAL" not in describe_process(emulator)["environ"]


def test_transform_job_has_its_own_container_until_it_ends(emulator):
    emulator.put_object("in/a.png", b"a")
    emulator.create_model("ocr", Environment={"SERVE_USE": "realtime", "KEPT": "yes"})

    create_job(
        emulator,
        MaxPayloadInMB=25,
        MaxConcurrentTransforms=4,
        BatchStrategy="SingleRecord",
        Environment={"SERVE_USE": "batch"},
    )
    assert wait_for_job(emulator)["TransformJobStatus"] == "Completed"

    response = json.loads(emulator.get_object(f"s3://{BUCKET}/out/a.png.out"))
    environ = response["environ"]
    assert (environ["SERVE_USE"], environ["KEPT"]) == ("batch", "yes")
    assert environ["SAGEMAKER_BATCH"] == "true"
    assert environ["SAGEMAKER_MAX_PAYLOAD_IN_MB"] == "25"
    assert environ["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] == "4"
    assert environ["SAGEMAKER_BATCH_STRATEGY"] == "SINGLE_RECORD"
    until(lambda: not is_alive(response["pid"]) and not is_alive(response["child"]))


def test_unset_job_settings_set_no_variables(emulator):
    emulator.put_object("in/a.png", b"a")
    emulator.create_model("ocr")

    create_job(emulator)
    wait_for_job(emulator)

    environ = json.loads(emulator.get_object(f"s3://{BUCKET}/out/a.png.out"))["environ"]
    set_by_sagemaker = {name for name in environ if name.startswith("SAGEMAKER_")}
    assert set_by_sagemaker == {"SAGEMAKER_BATCH", "SAGEMAKER_BIND_TO_PORT"}


def test_killed_container_is_replaced_with_its_children(emulator):
    emulator.create_endpoint()
    first = describe_process(emulator)

    os.kill(first["pid"], signal.SIGKILL)
    until(lambda: not is_alive(first["child"]))

    def describe_replacement():
        try:
            return describe_process(emulator)
        except ClientError:
            return None

    assert until(describe_replacement)["pid"] != first["pid"]


def test_only_the_running_request_fails_with_its_container(emulator):
    emulator.create_async_endpoint(concurrency=1)
    submit = emulator.runtime.invoke_endpoint_async

    deadly = submit(EndpointName="ocr", Body=b"die")
    others = [submit(EndpointName="ocr", Body=b"who are you?") for _ in range(3)]

    for other in others:
        assert until(partial(emulator.get_object, other["OutputLocation"]), 60)
    assert b"Unable to get a response" in emulator.get_object(deadly["FailureLocation"])
    assert emulator.get_object(deadly["OutputLocation"]) is None


@pytest.mark.slow
def test_each_request_has_one_outcome_despite_kills(emulator):
    emulator.create_async_endpoint(concurrency=4)
    container = get_only_container(emulator)
    responses = []
    for number in range(60):
        responses.append(
            emulator.runtime.invoke_endpoint_async(
                EndpointName="ocr", Body=b"who are you, %d?" % number
            )
        )
        if number % 15 == 5:
            until(container.is_healthy)
            os.kill(container.pid, signal.SIGKILL)

    def find_outcomes(response):
        uris = (response["OutputLocation"], response["FailureLocation"])
        return [uri for uri in uris if emulator.get_object(uri) is not None]

    until(lambda: all(find_outcomes(response) for response in responses), 120)
    assert all(len(find_outcomes(response)) == 1 for response in responses)
    num_failed = sum("failed" in find_outcomes(response)[0] for response in responses)
    assert num_failed <= 4 * 4


def test_transform_job_completes_despite_kills(emulator):
    for number in range(30):
        emulator.put_object(f"in/{number}.png", b"who are you?")
    emulator.create_model("ocr")

    create_job(emulator, MaxConcurrentTransforms=4, MaxPayloadInMB=1)
    container = until(lambda: emulator.instance.fleet.list_containers())[0]
    for num_done in (1, 10, 20):
        until(
            partial(lambda least: len(emulator.list_keys("out")) >= least, num_done), 60
        )
        with suppress(ProcessLookupError):  # the job may have ended already
            os.kill(container.pid, signal.SIGKILL)

    assert (
        wait_for_job(emulator, timeout_seconds=120)["TransformJobStatus"] == "Completed"
    )
    assert len(emulator.list_keys("out")) == 30


def test_transform_job_limits_retries_of_a_deadly_object(emulator):
    emulator.put_object("in/a.png", b"die")
    emulator.put_object("in/b.png", b"who are you?")
    emulator.create_model("ocr")

    create_job(emulator, ModelClientConfig={"InvocationsMaxRetries": 1})
    job = wait_for_job(emulator)

    assert job["TransformJobStatus"] == "Failed"
    assert emulator.list_keys("out") == ["out/b.png.out"]
    assert sum("it is replaced" in line for line in emulator.lines) == 2


def test_deleting_an_endpoint_stops_its_container(emulator):
    emulator.create_endpoint()
    process = describe_process(emulator)

    emulator.sagemaker.delete_endpoint(EndpointName="ocr")

    until(lambda: not is_alive(process["pid"]) and not is_alive(process["child"]))


def test_updated_endpoint_switches_to_its_healthy_container(emulator):
    emulator.create_endpoint()
    first = describe_process(emulator)
    emulator.create_endpoint(
        "next", is_created=False, model={"Environment": {"WHICH": "second"}}
    )

    emulator.sagemaker.update_endpoint(EndpointName="ocr", EndpointConfigName="next")

    assert describe_process(emulator)["pid"] == first["pid"]
    described = emulator.sagemaker.describe_endpoint
    assert described(EndpointName="ocr")["EndpointConfigName"] == "next"
    until(lambda: described(EndpointName="ocr")["EndpointStatus"] == "InService")
    assert describe_process(emulator)["environ"]["WHICH"] == "second"
    until(lambda: not is_alive(first["pid"]))


def test_close_ends_all_processes(emulator):
    emulator.create_endpoint()
    process = describe_process(emulator)
    pids = [process["pid"], process["child"]]
    assert all(map(psutil.pid_exists, pids))

    emulator.instance.close()

    assert not any(map(is_alive, pids))


def test_container_that_cannot_start_fails_its_endpoint(start_emulator):
    emulator = start_emulator(
        create_program(sys.executable, "-c", "raise SystemExit('no weights')")
    )
    emulator.create_endpoint()

    def find_failed_endpoint():
        endpoint = emulator.sagemaker.describe_endpoint(EndpointName="ocr")
        return endpoint if endpoint["EndpointStatus"] == "Failed" else None

    assert (
        "did not pass the ping health check"
        in until(find_failed_endpoint)["FailureReason"]
    )
    group = "/aws/sagemaker/Endpoints/ocr"
    until(lambda: "no weights" in str(emulator.read_messages(group)))


def test_container_that_cannot_start_fails_its_job(start_emulator):
    emulator = start_emulator(
        create_program(sys.executable, "-c", "raise SystemExit(1)")
    )
    emulator.put_object("in/a.png", b"a")
    emulator.create_model("ocr")

    create_job(emulator)

    assert "ping health check" in wait_for_job(emulator)["FailureReason"]


def test_container_that_stays_unhealthy_is_replaced(start_emulator):
    emulator = start_emulator(
        create_program(),
        SageMakerLimits(stop_seconds=5),
        Assumptions(replace_seconds=1),
    )
    emulator.create_endpoint()
    emulator.runtime.invoke_endpoint(EndpointName="ocr", Body=b"sicken")

    until(
        lambda: any("no healthy /ping for 1 s" in line for line in emulator.lines), 60
    )


def test_container_output_is_logged_and_printed(emulator):
    emulator.create_endpoint()
    describe_process(emulator)

    def read_streams():
        return emulator.read_messages("/aws/sagemaker/Endpoints/ocr")

    [(name, lines)] = until(read_streams).items()
    assert name.startswith("AllTraffic/i-")
    assert lines == ["a line of the container"]
    assert any(line.endswith("| a line of the container") for line in emulator.lines)


def test_transform_job_has_two_log_streams(emulator):
    emulator.put_object("in/a.png", b"a")
    emulator.create_model("ocr")
    create_job(emulator)
    wait_for_job(emulator)

    def find_both_streams():
        streams = emulator.read_messages("/aws/sagemaker/TransformJobs")
        return streams if len(streams) == 2 else None

    container_log, data_log = sorted(until(find_both_streams))
    assert container_log.startswith("job/i-")
    assert data_log == f"{container_log}/data-log"
