"""Containers that the emulator starts itself: as SageMaker does, and replaced as there.

The program is a small one of ours; the real server has a module of its own.
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
from tests.deploy.emulator.test_transform import create, ended
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


def asked(local, name="ocr"):
    answer = local.runtime.invoke_endpoint(EndpointName=name, Body=b"who are you?")
    return json.loads(answer["Body"].read())


def own(local):
    """The one container that there is."""
    [container] = local.emulator.fleet.list_containers()
    return container


def test_a_container_is_told_what_sagemaker_tells_it(local):
    local.endpoint("ocr", model={"Environment": {"SERVE_USE": "realtime"}})

    environ = asked(local)["environ"]

    assert environ["SERVE_USE"] == "realtime"
    assert environ["SAGEMAKER_BIND_TO_PORT"].isdigit()
    assert environ["AWS_REGION"] == environ["AWS_DEFAULT_REGION"] == "us-east-1"
    assert environ["AWS_ENDPOINT_URL"] == local.address
    assert "SAGEMAKER_BATCH" not in environ


def test_weights_of_this_machine_take_the_place_of_the_models(local):
    environment = {"MODEL_ID": "datalab-to/chandra", "MODEL_REVISION": "c0ffee"}
    local.endpoint("ocr", model={"Environment": environment})

    environ = asked(local)["environ"]

    assert environ["MODEL_DIR"] == "/weights"
    assert "MODEL_ID" not in environ
    assert "MODEL_REVISION" not in environ


def test_or_the_models_own_are_loaded(start):
    local = start(program(weights=None))
    local.endpoint("ocr", model={"Environment": {"MODEL_S3_URI": "s3://weights/1/"}})

    environ = asked(local)["environ"]

    assert environ["MODEL_S3_URI"] == "s3://weights/1/"
    assert "MODEL_DIR" not in environ


def test_nothing_else_of_our_environment_is_passed_on(local, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_TERMINAL", "1")
    local.endpoint()

    assert "SECRET_OF_THE_TERMINAL" not in asked(local)["environ"]


def test_a_transform_job_has_a_container_of_its_own_until_it_ends(local):
    local.put("in/a.png", b"a")
    local.model("ocr", Environment={"SERVE_USE": "realtime", "KEPT": "yes"})

    create(
        local,
        MaxPayloadInMB=25,
        MaxConcurrentTransforms=4,
        BatchStrategy="SingleRecord",
        Environment={"SERVE_USE": "batch"},
    )
    assert ended(local)["TransformJobStatus"] == "Completed"

    answer = json.loads(local.get(f"s3://{BUCKET}/out/a.png.out"))
    environ = answer["environ"]
    assert (environ["SERVE_USE"], environ["KEPT"]) == ("batch", "yes")
    assert environ["SAGEMAKER_BATCH"] == "true"
    assert environ["SAGEMAKER_MAX_PAYLOAD_IN_MB"] == "25"
    assert environ["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] == "4"
    assert environ["SAGEMAKER_BATCH_STRATEGY"] == "SINGLE_RECORD"
    until(lambda: not is_alive(answer["pid"]) and not is_alive(answer["child"]))


def test_what_a_job_does_not_say_the_container_is_not_told(local):
    local.put("in/a.png", b"a")
    local.model("ocr")

    create(local)
    ended(local)

    environ = json.loads(local.get(f"s3://{BUCKET}/out/a.png.out"))["environ"]
    set_by_sagemaker = {name for name in environ if name.startswith("SAGEMAKER_")}
    assert set_by_sagemaker == {"SAGEMAKER_BATCH", "SAGEMAKER_BIND_TO_PORT"}


def test_a_container_that_is_killed_is_replaced_with_all_that_it_had_started(local):
    local.endpoint()
    first = asked(local)

    os.kill(first["pid"], signal.SIGKILL)
    until(lambda: not is_alive(first["child"]))

    def replaced():
        try:
            return asked(local)
        except ClientError:
            return None

    assert until(replaced)["pid"] != first["pid"]


def test_a_document_that_was_read_when_it_died_fails_and_those_that_wait_do_not(local):
    local.async_endpoint(concurrency=1)
    submit = local.runtime.invoke_endpoint_async

    deadly = submit(EndpointName="ocr", Body=b"die")
    others = [submit(EndpointName="ocr", Body=b"who are you?") for _ in range(3)]

    for other in others:
        assert until(partial(local.get, other["OutputLocation"]), 60)
    assert b"Unable to get a response" in local.get(deadly["FailureLocation"])
    assert local.get(deadly["OutputLocation"]) is None


@pytest.mark.slow
def test_however_often_it_dies_every_document_has_one_end(local):
    local.async_endpoint(concurrency=4)
    container = own(local)
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

    def ends(answer):
        places = (answer["OutputLocation"], answer["FailureLocation"])
        return [place for place in places if local.get(place) is not None]

    until(lambda: all(ends(answer) for answer in answers), 120)
    assert all(len(ends(answer)) == 1 for answer in answers)
    num_failed = sum("failed" in ends(answer)[0] for answer in answers)
    assert num_failed <= 4 * 4


def test_a_batch_that_is_killed_now_and_then_has_every_answer(local):
    for number in range(30):
        local.put(f"in/{number}.png", b"who are you?")
    local.model("ocr")

    create(local, MaxConcurrentTransforms=4, MaxPayloadInMB=1)
    container = until(lambda: local.emulator.fleet.list_containers())[0]
    for num_done in (1, 10, 20):
        until(partial(lambda least: len(local.keys("out")) >= least, num_done), 60)
        with suppress(ProcessLookupError):  # the last one may be done
            os.kill(container.pid, signal.SIGKILL)

    assert ended(local, timeout_seconds=120)["TransformJobStatus"] == "Completed"
    assert len(local.keys("out")) == 30


def test_a_batch_tries_what_the_container_died_over_as_often_as_it_may(local):
    local.put("in/a.png", b"die")
    local.put("in/b.png", b"who are you?")
    local.model("ocr")

    create(local, ModelClientConfig={"InvocationsMaxRetries": 1})
    job = ended(local)

    assert job["TransformJobStatus"] == "Failed"
    assert local.keys("out") == ["out/b.png.out"]
    assert sum("it is replaced" in line for line in local.lines) == 2


def test_a_deleted_endpoint_has_no_container(local):
    local.endpoint()
    process = asked(local)

    local.sagemaker.delete_endpoint(EndpointName="ocr")

    until(lambda: not is_alive(process["pid"]) and not is_alive(process["child"]))


def test_an_updated_endpoint_has_another_container_once_that_is_healthy(local):
    local.endpoint()
    first = asked(local)
    local.endpoint("next", is_created=False, model={"Environment": {"WHICH": "second"}})

    local.sagemaker.update_endpoint(EndpointName="ocr", EndpointConfigName="next")

    assert asked(local)["pid"] == first["pid"]
    described = local.sagemaker.describe_endpoint
    assert described(EndpointName="ocr")["EndpointConfigName"] == "next"
    until(lambda: described(EndpointName="ocr")["EndpointStatus"] == "InService")
    assert asked(local)["environ"]["WHICH"] == "second"
    until(lambda: not is_alive(first["pid"]))


def test_the_end_is_the_end_of_everything_that_was_started(local):
    local.endpoint()
    process = asked(local)
    family = [process["pid"], process["child"]]
    assert all(map(psutil.pid_exists, family))

    local.emulator.close()

    assert not any(map(is_alive, family))


def test_a_container_that_cannot_start_fails_its_endpoint(start):
    local = start(program(sys.executable, "-c", "raise SystemExit('no weights')"))
    local.endpoint()

    def failed():
        found = local.sagemaker.describe_endpoint(EndpointName="ocr")
        return found if found["EndpointStatus"] == "Failed" else None

    assert "did not pass the ping health check" in until(failed)["FailureReason"]
    group = "/aws/sagemaker/Endpoints/ocr"
    until(lambda: "no weights" in str(local.messages(group)))


def test_a_container_that_cannot_start_fails_its_job(start):
    local = start(program(sys.executable, "-c", "raise SystemExit(1)"))
    local.put("in/a.png", b"a")
    local.model("ocr")

    create(local)

    assert "ping health check" in ended(local)["FailureReason"]


def test_a_container_that_stays_sick_is_replaced(start):
    local = start(
        program(), SageMakerLimits(stop_seconds=5), Assumptions(replace_seconds=1)
    )
    local.endpoint()
    local.runtime.invoke_endpoint(EndpointName="ocr", Body=b"sicken")

    until(lambda: any("no healthy /ping for 1 s" in line for line in local.lines), 60)


def test_lines_of_a_container_are_in_the_log_of_its_endpoint_and_on_standard_output(
    local,
):
    local.endpoint()
    asked(local)

    def streams():
        return local.messages("/aws/sagemaker/Endpoints/ocr")

    [(name, lines)] = until(streams).items()
    assert name.startswith("AllTraffic/i-")
    assert lines == ["a line of the container"]
    assert any(line.endswith("| a line of the container") for line in local.lines)


def test_lines_of_a_job_are_in_the_log_of_all_jobs(local):
    local.put("in/a.png", b"a")
    local.model("ocr")
    create(local)
    ended(local)

    def streams():
        found = local.messages("/aws/sagemaker/TransformJobs")
        return found if len(found) == 2 else None

    own, data_log = sorted(until(streams))
    assert own.startswith("job/i-")
    assert data_log == f"{own}/data-log"
