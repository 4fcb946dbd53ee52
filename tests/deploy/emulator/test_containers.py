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


def program(*command: str, weights: str | None = "/weights") -> ServerProgram:
    return ServerProgram(
        PROGRAM.parent,
        weights,
        {"AWS_ACCESS_KEY_ID": "local"},
        command or (sys.executable, str(PROGRAM)),
    )


@pytest.fixture
def local(start):
    return start(
        program(), SageMakerLimits(stop_seconds=5), Assumptions(retry_seconds=0.01)
    )


def describe_process(local, name="ocr"):
    answer = local.runtime.invoke_endpoint(EndpointName=name, Body=b"who are you?")
    return json.loads(answer["Body"].read())


def get_only_container(local):
    """Return the only container of the emulator."""
    [container] = local.emulator.fleet.list_containers()
    return container


def test_container_has_the_environment_of_sagemaker(local):
    local.create_endpoint("ocr", model={"Environment": {"SERVE_USE": "realtime"}})

    environ = describe_process(local)["environ"]

    assert environ["SERVE_USE"] == "realtime"
    assert environ["SAGEMAKER_BIND_TO_PORT"].isdigit()
    assert environ["AWS_REGION"] == environ["AWS_DEFAULT_REGION"] == "us-east-1"
    assert environ["AWS_ENDPOINT_URL"] == local.address
    assert "SAGEMAKER_BATCH" not in environ


def test_local_weights_replace_those_of_the_model(local):
    environment = {"MODEL_ID": "datalab-to/chandra", "MODEL_REVISION": "c0ffee"}
    local.create_endpoint("ocr", model={"Environment": environment})

    environ = describe_process(local)["environ"]

    assert environ["MODEL_DIR"] == "/weights"
    assert "MODEL_ID" not in environ
    assert "MODEL_REVISION" not in environ


def test_model_weights_are_kept_without_local_weights(start):
    local = start(program(weights=None))
    local.create_endpoint(
        "ocr", model={"Environment": {"MODEL_S3_URI": "s3://weights/1/"}}
    )

    environ = describe_process(local)["environ"]

    assert environ["MODEL_S3_URI"] == "s3://weights/1/"
    assert "MODEL_DIR" not in environ


def test_container_does_not_inherit_other_variables(local, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_TERMINAL", "1")
    local.create_endpoint()

    assert "SECRET_OF_THE_TERMINAL" not in describe_process(local)["environ"]


def test_transform_job_has_its_own_container_until_it_ends(local):
    local.put_object("in/a.png", b"a")
    local.create_model("ocr", Environment={"SERVE_USE": "realtime", "KEPT": "yes"})

    create_job(
        local,
        MaxPayloadInMB=25,
        MaxConcurrentTransforms=4,
        BatchStrategy="SingleRecord",
        Environment={"SERVE_USE": "batch"},
    )
    assert wait_for_job(local)["TransformJobStatus"] == "Completed"

    answer = json.loads(local.get_object(f"s3://{BUCKET}/out/a.png.out"))
    environ = answer["environ"]
    assert (environ["SERVE_USE"], environ["KEPT"]) == ("batch", "yes")
    assert environ["SAGEMAKER_BATCH"] == "true"
    assert environ["SAGEMAKER_MAX_PAYLOAD_IN_MB"] == "25"
    assert environ["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] == "4"
    assert environ["SAGEMAKER_BATCH_STRATEGY"] == "SINGLE_RECORD"
    until(lambda: not is_alive(answer["pid"]) and not is_alive(answer["child"]))


def test_unset_job_settings_set_no_variables(local):
    local.put_object("in/a.png", b"a")
    local.create_model("ocr")

    create_job(local)
    wait_for_job(local)

    environ = json.loads(local.get_object(f"s3://{BUCKET}/out/a.png.out"))["environ"]
    set_by_sagemaker = {name for name in environ if name.startswith("SAGEMAKER_")}
    assert set_by_sagemaker == {"SAGEMAKER_BATCH", "SAGEMAKER_BIND_TO_PORT"}


def test_killed_container_is_replaced_with_its_children(local):
    local.create_endpoint()
    first = describe_process(local)

    os.kill(first["pid"], signal.SIGKILL)
    until(lambda: not is_alive(first["child"]))

    def replaced():
        try:
            return describe_process(local)
        except ClientError:
            return None

    assert until(replaced)["pid"] != first["pid"]


def test_only_the_running_request_fails_with_its_container(local):
    local.create_async_endpoint(concurrency=1)
    submit = local.runtime.invoke_endpoint_async

    deadly = submit(EndpointName="ocr", Body=b"die")
    others = [submit(EndpointName="ocr", Body=b"who are you?") for _ in range(3)]

    for other in others:
        assert until(partial(local.get_object, other["OutputLocation"]), 60)
    assert b"Unable to get a response" in local.get_object(deadly["FailureLocation"])
    assert local.get_object(deadly["OutputLocation"]) is None


@pytest.mark.slow
def test_each_request_has_one_outcome_despite_kills(local):
    local.create_async_endpoint(concurrency=4)
    container = get_only_container(local)
    answers = []
    for number in range(60):
        answers.append(
            local.runtime.invoke_endpoint_async(
                EndpointName="ocr", Body=b"who are you, %d?" % number
            )
        )
        if number % 15 == 5:
            until(container.is_healthy)
            os.kill(container.pid, signal.SIGKILL)

    def find_outcomes(answer):
        places = (answer["OutputLocation"], answer["FailureLocation"])
        return [place for place in places if local.get_object(place) is not None]

    until(lambda: all(find_outcomes(answer) for answer in answers), 120)
    assert all(len(find_outcomes(answer)) == 1 for answer in answers)
    num_failed = sum("failed" in find_outcomes(answer)[0] for answer in answers)
    assert num_failed <= 4 * 4


def test_transform_job_completes_despite_kills(local):
    for number in range(30):
        local.put_object(f"in/{number}.png", b"who are you?")
    local.create_model("ocr")

    create_job(local, MaxConcurrentTransforms=4, MaxPayloadInMB=1)
    container = until(lambda: local.emulator.fleet.list_containers())[0]
    for num_done in (1, 10, 20):
        until(partial(lambda least: len(local.list_keys("out")) >= least, num_done), 60)
        with suppress(ProcessLookupError):  # the job may have ended already
            os.kill(container.pid, signal.SIGKILL)

    assert wait_for_job(local, timeout_seconds=120)["TransformJobStatus"] == "Completed"
    assert len(local.list_keys("out")) == 30


def test_transform_job_limits_retries_of_a_deadly_object(local):
    local.put_object("in/a.png", b"die")
    local.put_object("in/b.png", b"who are you?")
    local.create_model("ocr")

    create_job(local, ModelClientConfig={"InvocationsMaxRetries": 1})
    job = wait_for_job(local)

    assert job["TransformJobStatus"] == "Failed"
    assert local.list_keys("out") == ["out/b.png.out"]
    assert sum("it is replaced" in line for line in local.lines) == 2


def test_deleting_an_endpoint_stops_its_container(local):
    local.create_endpoint()
    process = describe_process(local)

    local.sagemaker.delete_endpoint(EndpointName="ocr")

    until(lambda: not is_alive(process["pid"]) and not is_alive(process["child"]))


def test_updated_endpoint_switches_to_its_healthy_container(local):
    local.create_endpoint()
    first = describe_process(local)
    local.create_endpoint(
        "next", is_created=False, model={"Environment": {"WHICH": "second"}}
    )

    local.sagemaker.update_endpoint(EndpointName="ocr", EndpointConfigName="next")

    assert describe_process(local)["pid"] == first["pid"]
    described = local.sagemaker.describe_endpoint
    assert described(EndpointName="ocr")["EndpointConfigName"] == "next"
    until(lambda: described(EndpointName="ocr")["EndpointStatus"] == "InService")
    assert describe_process(local)["environ"]["WHICH"] == "second"
    until(lambda: not is_alive(first["pid"]))


def test_close_ends_all_processes(local):
    local.create_endpoint()
    process = describe_process(local)
    list_family = [process["pid"], process["child"]]
    assert all(map(psutil.pid_exists, list_family))

    local.emulator.close()

    assert not any(map(is_alive, list_family))


def test_container_that_cannot_start_fails_its_endpoint(start):
    local = start(program(sys.executable, "-c", "raise SystemExit('no weights')"))
    local.create_endpoint()

    def failed():
        endpoint = local.sagemaker.describe_endpoint(EndpointName="ocr")
        return endpoint if endpoint["EndpointStatus"] == "Failed" else None

    assert "did not pass the ping health check" in until(failed)["FailureReason"]
    group = "/aws/sagemaker/Endpoints/ocr"
    until(lambda: "no weights" in str(local.read_messages(group)))


def test_container_that_cannot_start_fails_its_job(start):
    local = start(program(sys.executable, "-c", "raise SystemExit(1)"))
    local.put_object("in/a.png", b"a")
    local.create_model("ocr")

    create_job(local)

    assert "ping health check" in wait_for_job(local)["FailureReason"]


def test_container_that_stays_unhealthy_is_replaced(start):
    local = start(
        program(), SageMakerLimits(stop_seconds=5), Assumptions(replace_seconds=1)
    )
    local.create_endpoint()
    local.runtime.invoke_endpoint(EndpointName="ocr", Body=b"sicken")

    until(lambda: any("no healthy /ping for 1 s" in line for line in local.lines), 60)


def test_container_output_is_logged_and_printed(
    local,
):
    local.create_endpoint()
    describe_process(local)

    def streams():
        return local.read_messages("/aws/sagemaker/Endpoints/ocr")

    [(name, lines)] = until(streams).items()
    assert name.startswith("AllTraffic/i-")
    assert lines == ["a line of the container"]
    assert any(line.endswith("| a line of the container") for line in local.lines)


def test_transform_job_has_two_log_streams(local):
    local.put_object("in/a.png", b"a")
    local.create_model("ocr")
    create_job(local)
    wait_for_job(local)

    def streams():
        streams = local.read_messages("/aws/sagemaker/TransformJobs")
        return streams if len(streams) == 2 else None

    own, data_log = sorted(until(streams))
    assert own.startswith("job/i-")
    assert data_log == f"{own}/data-log"
