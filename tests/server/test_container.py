"""`serve`, the first process of a container, without the container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from server.archive import ROOT, build_archive
from server.container import STORE_PREFIX
from server.folders import remove_leftovers
from server.host import find_free_addresses
from server.torchserve import read_properties
from tests import documents
from tests.disks import fill, small_disk
from tests.marks import needs_the_plugin
from tests.server.conftest import Lines
from tests.server.processes import is_alive, list_family
from tests.waiting import until

PNG, PDF = "image/png", "application/pdf"
WORDS = ["Unmistakable words of a document"]
PAGE = documents.as_png(documents.text_page(WORDS))
LONG_PDF = documents.pdf([[f"Page {n}"] for n in range(60)])
START_SCRIPT = (
    "import sys; from pathlib import Path; from server.container import main; "
    "sys.exit(main(['serve'], config=Path(sys.argv[1])))"
)

pytestmark = needs_the_plugin


class ServeProcess:
    """Running process of `serve`, with the lines that it has printed so far."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.address = f"http://127.0.0.1:{port}"
        self.lines = Lines()
        assert process.stdout is not None
        self._listener = threading.Thread(
            target=self._collect_lines, args=(process.stdout,)
        )
        self._listener.start()

    def _collect_lines(self, output) -> None:
        with output:
            for line in output:
                self.lines(line.rstrip("\n"))

    def ping(self) -> int | None:
        try:
            return httpx.get(f"{self.address}/ping").status_code
        except httpx.TransportError:
            return None

    def post(self, content: bytes, media_type: str, **headers: str) -> httpx.Response:
        return httpx.post(
            f"{self.address}/invocations",
            content=content,
            # Few tokens, so that the page is finished within the drain.
            params={"max_output_tokens": "20"},
            headers={"Content-Type": media_type, **headers},
            timeout=120,
        )

    def wait(self, timeout_seconds: float = 60) -> int:
        """Wait until the process has ended, and return its exit status."""
        status = self.process.wait(timeout_seconds)
        self._listener.join()
        return status

    def find_java(self) -> psutil.Process:
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if child.name() == "java")

    @property
    def last_event(self):
        return json.loads(list(self.lines)[-1])


@contextmanager
def run_serve(short_folder: Path, environ: Mapping[str, str]) -> Iterator[ServeProcess]:
    """Run `serve` on free ports; at the end, check that no process is left."""
    addresses = find_free_addresses()
    port = int(addresses.pop("inference_address").rpartition(":")[2])
    properties = read_properties(ROOT / "config.properties") | addresses
    config = short_folder / "config.properties"
    config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    process = subprocess.Popen(
        [sys.executable, "-c", START_SCRIPT, config],
        cwd=ROOT,
        env={
            **os.environ,
            "BIND_ADDRESS": "127.0.0.1",
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "TMPDIR": str(short_folder),
            # On a busy machine, two torch threads wait for each other.
            "CHANDRA_CPU_THREADS": "1",
            **environ,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    running = ServeProcess(process, port)
    pids: list[int] = []
    try:
        yield running
    finally:
        if process.poll() is None:
            pids = [member.pid for member in list_family(process.pid)]
            process.terminate()
            process.terminate()
        running.wait()
    until(lambda: not any(map(is_alive, pids)))


@pytest.fixture(scope="module", autouse=True)
def _archive():
    build_archive(ROOT / "model-store")


@pytest.fixture
def start_serve(short_folder):
    """Function that starts `serve` with environment variables, as a context."""

    def start(**environ: str):
        return run_serve(short_folder, environ)

    return start


def test_sigterm_answers_open_requests_and_exits_with_0(start_serve, short_folder):
    with start_serve() as running, ThreadPoolExecutor(1) as threads:
        assert running.ping() != 200
        until(lambda: running.ping() == 200, 120)
        authorization = {"Authorization": "Bearer of-a-secret"}
        future = threads.submit(running.post, PAGE, PNG, **authorization)
        until(lambda: _count_open_requests(short_folder) == 1)
        started = time.monotonic()

        running.process.send_signal(signal.SIGTERM)

        until(lambda: running.ping() in (503, None))
        assert future.result().json()["status"] == "success"
        assert running.wait() == 0
        assert time.monotonic() - started < 30

    events = [json.loads(line) for line in running.lines]
    names = [event["event"] for event in events]
    for name in ("start", "weights", "ready", "request", "drain", "stop"):
        assert names.count(name) == 1, name
    [weights] = running.lines.find_events("weights")
    assert weights["bytes"] > 0
    assert weights["bytes_per_second"] > 0
    text = "\n".join(running.lines)
    assert "Unmistakable" not in text
    assert "of-a-secret" not in text
    assert [path.name for path in short_folder.iterdir()] == ["config.properties"]


@pytest.mark.slow
def test_second_sigterm_ends_the_drain_at_once(start_serve, short_folder):
    with start_serve() as running, ThreadPoolExecutor(1) as threads:
        until(lambda: running.ping() == 200, 120)
        future = threads.submit(running.post, LONG_PDF, PDF)
        until(lambda: _count_open_requests(short_folder) == 1)
        running.process.send_signal(signal.SIGTERM)
        # The worker sees the drain with its next heartbeat, and accepts until then.
        until(lambda: _read_state(short_folder).get("drains") == "yes")
        refused = running.post(PAGE, PNG)
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        started = time.monotonic()

        running.process.send_signal(signal.SIGTERM)

        assert future.result().status_code in (200, 503)
        assert running.wait() == 0
        assert time.monotonic() - started < 15


@pytest.mark.slow
def test_sigterm_on_a_full_disk_answers_open_requests():
    with (
        small_disk(64) as disk,
        run_serve(disk, {}) as running,
        ThreadPoolExecutor(1) as threads,
    ):
        until(lambda: running.ping() == 200, 120)
        future = threads.submit(running.post, LONG_PDF, PDF)
        until(lambda: _count_open_requests(disk) == 1)
        fill(disk)
        refused = running.post(PAGE, PNG)
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert running.ping() == 200

        running.process.send_signal(signal.SIGTERM)

        answer = future.result()
        assert answer.status_code == 200
        assert answer.json()["status"] in ("success", "partial_success")
        assert running.wait() == 0
    assert running.last_event["event"] == "stop"
    assert running.last_event["unanswered"] == 0


@pytest.mark.slow
def test_no_process_survives_a_killed_supervisor(start_serve, short_folder):
    with start_serve() as running:
        until(lambda: running.ping() == 200, 120)
        processes = list_family(running.process.pid)

        running.process.kill()

        until(lambda: not any(is_alive(member.pid) for member in processes), 15)
    # The archive's folder is removed by the next start.
    until(lambda: not list(short_folder.glob("chandra-serve-*")), 10)
    remove_leftovers(STORE_PREFIX, short_folder)
    assert not list(short_folder.glob("chandra-*"))


@pytest.mark.slow
def test_killed_java_ends_the_container_with_the_reason(start_serve):
    with start_serve() as running:
        until(lambda: running.ping() == 200, 120)

        running.find_java().kill()

        assert running.wait() == 1
    [crash] = running.lines.find_events("crash")
    assert crash["what"] == "frontend"
    assert running.last_event["event"] == "stop"
    assert "SIGKILL" in running.last_event["reason"]


@pytest.mark.slow
def test_model_that_cannot_be_loaded_ends_the_container(start_serve):
    with start_serve(MODEL_ID="datalab-to/chandra", HF_HUB_OFFLINE="1") as running:
        assert running.wait(120) == 1

    assert "ALLOW_CPU=1" in running.last_event["reason"]


def test_sigterm_while_loading_ends_the_container_at_once(start_serve):
    with start_serve() as running:
        until(lambda: running.lines.find_events("start"))

        running.process.send_signal(signal.SIGTERM)

        assert running.wait(15) == 0


def test_invalid_variable_ends_the_container_with_its_name(start_serve):
    with start_serve(SERVE_USE="realtme") as running:
        assert running.wait() == 1

    assert "SERVE_USE" in running.last_event["reason"]


def test_another_command_replaces_the_server():
    result = subprocess.run(
        [sys.executable, "-m", "server.container", "echo", "hello"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )

    assert result.stdout == "hello\n"


def _count_open_requests(short_folder: Path) -> int:
    return int(_read_state(short_folder).get("open", "0"))


def _read_state(short_folder: Path) -> dict[str, str]:
    """Return the last state that the worker wrote."""
    [state] = short_folder.glob("chandra-serve-*/state/state")
    return read_properties(state)
