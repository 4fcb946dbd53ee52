"""The image, built from the project's own Dockerfile and run by a real engine."""

from __future__ import annotations

import json
import shutil
import signal
import time
import urllib.request
from pathlib import Path

import httpx
import psutil
import pytest

from bench.cold_start import GIB, write_checkpoint
from handler.weights.source import MINI
from server.archive import ROOT
from server.host import find_free_ports
from tests import documents
from tests.container.checks import (
    PAGE,
    PNG,
    becomes_ready,
    logs_json,
    stops_well,
    writes_nothing,
)
from tests.container.containers import STRICT
from tests.waiting import until

PDF = "application/pdf"
LONG = documents.pdf([[f"Page {n}"] for n in range(300)])

TORCH_NAMES = """
import inspect, torch
names = "query key value cum_seq_q cum_seq_k max_q max_k dropout_p is_causal"
arguments = torch.ops.aten._flash_attention_forward.default._schema.arguments
by_position = [a.name for a in arguments if not a.kwarg_only]
by_keyword = {a.name for a in arguments if a.kwarg_only}
required = {a.name for a in arguments if a.kwarg_only and not a.has_default_value()}
cuda = torch.cuda
missing = [
    *({*names.split(), "return_debug_mask"} ^ {*by_position}),
    *({"scale", "seqused_k"} - by_keyword | required),
    *({"pool", "stream"} - {*inspect.signature(cuda.graph).parameters}),
    *({"linear", "rms_norm", "silu"} - {*dir(torch.nn.functional)}),
    *({"_cuda_endAllocateToPool", "_cuda_releasePool"} - {*dir(cuda.memory)}),
    *({"CUDAGraph", "Stream", "graph_pool_handle", "stream"} - {*dir(cuda)}),
]
if by_position[: len(names.split())] != names.split():
    missing.append(by_position)
print(missing)
"""
"""Prints what the engine uses on a GPU and the image's torch lacks."""

pytestmark = [pytest.mark.container, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def strict(run):
    """A container without network, rights and files to write, for harmless tests."""
    container = run(*STRICT)
    becomes_ready(container)
    return container


@pytest.fixture(scope="module")
def described(engine, image):
    [inspected] = json.loads(engine("image", "inspect", image))
    return inspected["Config"]


def test_it_says_what_sagemaker_and_a_registry_want_to_know(described):
    labels = described["Labels"]

    assert labels["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"
    for name in ("source", "revision", "title", "licenses"):
        assert labels[f"org.opencontainers.image.{name}"]
    assert labels["chandra.cuda-version"]


def test_it_leaves_it_to_the_runtime_to_judge_the_driver(described):
    assert not any("NVIDIA_REQUIRE_CUDA" in each for each in described["Env"])


def test_it_holds_no_weights_but_minis_and_no_driver(engine, image):
    find = "find / -xdev -name '*.safetensors' -o -xdev -name 'libcuda.so*'"
    found = engine("run", "--rm", "--network", "none", image, "sh", "-c", find)

    assert found.split() == ["/opt/chandra/model-store/mini/model.safetensors"]


def test_another_command_is_run_in_place_of_serve(engine, image):
    said = engine("run", "--rm", "--network", "none", image, "echo", "hello")

    assert said == "hello\n"


def test_whoever_it_runs_as_has_a_name(engine, image):
    """torch 2.10 ends for want of one."""
    name = ("python", "-c", "import getpass; print(getpass.getuser())")
    said = engine("run", "--rm", "--network", "none", "--user", "12345", image, *name)

    assert said == "chandra\n"


def test_its_torch_has_what_the_engine_calls_on_a_gpu(engine, image):
    """The image for CUDA has another torch than the tests of the engine."""
    command = ("python", "-c", TORCH_NAMES)
    said = engine("run", "--rm", "--network", "none", image, *command)

    assert said.splitlines()[-1] == "[]"


def test_a_png_a_pdf_and_a_broken_pdf_are_answered(strict):
    png = strict.post(PAGE, PNG).result()
    pdf = strict.post(documents.pdf([["One"], ["Two"]]), PDF).result()
    broken = strict.post(b"%PDF-1.7 and no more", PDF).result()

    assert png.json()["status"] == "success"
    assert [page["page"] for page in pdf.json()["pages"]] == [1, 2]
    assert (broken.status_code, broken.json()["code"]) == (422, "unreadable_document")


def test_batch_transform_is_told_its_defaults(strict):
    parameters = strict.get("/execution-parameters").json()

    assert parameters["BatchStrategy"] == "SINGLE_RECORD"


def test_nothing_listens_outside_loopback_but_the_one_port(strict):
    outside = {
        (address, port)
        for address, port in strict.listening()
        if address not in ("127.0.0.1", "::1")
    }

    assert {port for _, port in outside} == {8080}


def test_a_netty_that_is_looked_after_comes_before_torchserves(strict):
    command = strict.java().cmdline()

    jars = command[command.index("-cp") + 1].split(":")
    assert jars[0] == "/opt/chandra/build/netty/*"
    files = Path(f"/proc/{strict.java().pid}/fd").iterdir()
    opened = [str(file.readlink()) for file in files]
    assert "/opt/chandra/build/netty/netty-codec-http.jar" in opened


def test_thirty_two_bodies_of_twenty_five_megabytes_at_once_are_answered(strict):
    large = PAGE + bytes(25_000_000)

    answers = [strict.post(large, PNG) for _ in range(32)]
    pings = set()
    slowest_seconds = 0.0
    while not all(answer.done() for answer in answers):
        started = time.monotonic()
        pings.add(strict.ping())
        slowest_seconds = max(slowest_seconds, time.monotonic() - started)

    codes = [answer.result().status_code for answer in answers]
    # A busy machine may have no decoder free in time, or no time left, and says so.
    assert set(codes) <= {200, 503, 504}
    assert codes.count(200) >= 4
    assert pings == {200}
    assert slowest_seconds < 2
    assert not strict.was_out_of_memory


def test_the_engine_killed_is_told_by_ping_and_costs_nothing_but_time(strict):
    answer = strict.post(documents.pdf([["One"], ["Two"], ["Three"]]), PDF)
    until(lambda: strict.read_state().get("open") == "1")

    strict.engine_process().send_signal(signal.SIGKILL)

    until(lambda: strict.ping() == 503)
    assert answer.result().json()["status"] == "success"
    until(lambda: strict.ping() == 200, 120)
    assert strict.events("crash")[-1]["what"] == "engine"


def test_the_worker_killed_is_told_by_ping_and_replaced(strict):
    strict.worker().send_signal(signal.SIGKILL)

    until(lambda: strict.ping() == 503)
    until(lambda: strict.ping() == 200, 180)
    assert strict.post(PAGE, PNG).result().status_code == 200
    until(lambda: strict.events("crash")[-1]["what"] == "worker")


def test_nobody_is_left_unburied(strict):
    assert [p for p in strict.processes() if p.status() == psutil.STATUS_ZOMBIE] == []


def test_sigterm_with_a_page_in_flight_answers_it_and_ends_with_0(strict):
    stops_well(strict)

    logs_json(strict)
    names = [event["event"] for event in strict.events()]
    assert names[0] == "start"
    assert names[-1] == "stop"
    assert {"weights", "ready", "request", "retry", "crash", "drain"} <= set(names)


def test_a_drain_is_told_by_ping_refuses_what_is_new_and_answers_what_it_has(run):
    container = run(*STRICT, "--env", "DRAIN_SECONDS=8")
    container.wait_until_ready()
    answer = container.post(LONG, PDF)
    until(lambda: container.read_state().get("open") == "1")

    stopping = container.stop_in_background()

    until(lambda: container.ping() == 503)
    refused = container.post(PAGE, PNG).result()
    assert (refused.status_code, bool(refused.headers["retry-after"])) == (503, True)
    assert answer.result().json()["status"] == "partial_success"
    stopping.join()
    assert container.exit_status == 0


def test_as_the_readme_runs_it_it_reads_the_sample_as_nobody_in_particular(run):
    [port] = find_free_ports(1)
    container = run(
        *("--publish", f"127.0.0.1:{port}:8080"),
        *("--env", "CHANDRA_CPU_THREADS=1", "--env", "METRICS_EMF=1"),
    )
    container.wait_until_ready()

    answer = httpx.post(
        f"http://127.0.0.1:{port}/invocations",
        content=(ROOT / "samples" / "page.png").read_bytes(),
        headers={"Content-Type": PNG},
        timeout=300,
    )

    assert answer.json()["status"] == "success"
    assert container.java().uids().effective == 10001
    assert container.engine_process().uids().effective == 10001
    assert container.events("metrics")[0]["Pages"] == 1
    writes_nothing(container)
    stops_well(container)


@pytest.fixture(scope="module")
def as_elsewhere(run, tmp_path_factory):
    """Run by a user of its own, on another port, with weights that are mounted."""
    weights = tmp_path_factory.mktemp("weights") / "model"
    shutil.copytree(MINI, weights)
    container = run(
        *(*STRICT, "--user", "10001", "--env", "SAGEMAKER_BIND_TO_PORT=9123"),
        *("--volume", f"{weights}:/opt/ml/model:ro"),
    )
    until(lambda: container.events("ready") or not container.is_running, 240)
    return container


def test_it_runs_as_a_user_of_its_own_on_another_port(as_elsewhere):
    assert 9123 in {port for _, port in as_elsewhere.listening()}
    assert as_elsewhere.java().uids().effective == 10001


def test_weights_are_read_from_where_sagemaker_puts_them(as_elsewhere):
    [found] = as_elsewhere.events("weights found")
    assert found["source"] == "folder"


def test_java_killed_ends_the_container_with_the_reason_as_its_last_line(as_elsewhere):
    as_elsewhere.java().send_signal(signal.SIGKILL)

    assert as_elsewhere.wait() == 1
    assert as_elsewhere.events()[-1]["event"] == "stop"
    assert "SIGKILL" in as_elsewhere.events()[-1]["reason"]


def test_weights_larger_than_the_memory_are_loaded(run, tmp_path):
    """There is no second copy of them, and the first is the system's to drop."""
    weights = tmp_path / "model"
    # Java, the worker and the engine's code take 1.3 GiB (estimate) whatever is loaded.
    num_bytes = write_checkpoint(weights, 4 * GIB)
    assert num_bytes > 3 * GIB
    container = run(
        *(*STRICT, "--memory", str(3 * GIB)),
        *("--volume", f"{weights}:/opt/ml/model:ro"),
    )

    container.wait_until_ready()

    assert not container.was_out_of_memory
    [loaded] = container.events("weights")
    assert loaded["bytes"] == num_bytes


def test_a_registry_gets_the_manifest_that_sagemaker_takes(engine, image):
    tag = f"{engine.registry()}/chandra:test"
    engine("tag", image, tag)
    engine("push", "--quiet", tag, timeout_seconds=1200)

    address, _, name = tag.partition("/")
    repository, _, version = name.partition(":")
    request = urllib.request.Request(
        f"http://{address}/v2/{repository}/manifests/{version}",
        headers={
            "Accept": "application/vnd.docker.distribution.manifest.v2+json, "
            "application/vnd.oci.image.index.v1+json, "
            "application/vnd.oci.image.manifest.v1+json"
        },
    )
    with urllib.request.urlopen(request) as answer:
        media_type = answer.headers["Content-Type"]
    assert media_type == "application/vnd.docker.distribution.manifest.v2+json"


# That the checks can fail.


def test_a_ping_that_lies_is_found_out(run, changed):
    """TorchServe's own is 200 as soon as it listens."""
    edit = "sed -i 's/plugin=plugin,/plugin=None,/' /opt/chandra/server/container.py"

    with pytest.raises(AssertionError, match="no model is loaded"):
        becomes_ready(run(*STRICT, image=changed("lying", f"RUN {edit}")))


def test_an_entrypoint_that_does_not_pass_signals_on_is_found_out(run, changed):
    line = "ENTRYPOINT python -P -m server.container serve; true"
    container = run(*STRICT, image=changed("deaf", line))
    container.wait_until_ready()

    with pytest.raises(AssertionError, match="status 137"):
        stops_well(container, seconds=5)


def test_a_log_that_is_not_json_is_found_out(run, changed):
    line = 'ENTRYPOINT ["echo", "ready"]'

    with pytest.raises(ValueError, match="Expecting value"):
        logs_json(run(*STRICT, image=changed("chatty", line)))


def test_a_file_written_outside_tmp_is_found_out(run, changed):
    line = 'ENTRYPOINT ["touch", "/opt/chandra/note"]'
    container = run("--network", "none", image=changed("untidy", line))
    container.wait()

    with pytest.raises(AssertionError, match="note"):
        writes_nothing(container)
