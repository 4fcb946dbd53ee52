"""Killed processes, deadlines and full queues, in which no accepted request is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from handler.weights.source import MINI
from server.torchserve import ServerFailedError
from tests import documents
from tests.server.processes import find_engine_pid, is_alive, is_idle, list_family
from tests.waiting import until

PNG, PDF = "image/png", "application/pdf"
PAGE = documents.as_png(documents.text_page(["A page"]))
LONG_PDF = documents.pdf([[f"Page {n}"] for n in range(60)])
NUM_LARGEST_PAGES = 400
LARGEST_PDF = documents.pdf([[f"Page {n}"] for n in range(NUM_LARGEST_PAGES)])


def test_killed_engine_only_delays_the_answer(client):
    document = documents.pdf([[f"Page {n}"] for n in range(5)])
    expected = client.post(document, PDF).json()["raw"]
    worker = client.server.query_worker_pid()
    engine = find_engine_pid(worker)
    before = psutil.Process(engine).cpu_times().user

    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(client.post, document, PDF)
        until(lambda: psutil.Process(engine).cpu_times().user > before + 0.3)
        os.kill(engine, signal.SIGKILL)
        answer = future.result().json()

    assert answer["status"] == "success"
    assert answer["raw"] == expected
    assert max(page["attempts"] for page in answer["pages"]) == 2
    assert client.server.query_worker_pid() == worker
    assert find_engine_pid(worker) != engine


@pytest.mark.slow
def test_stopped_decoders_and_writers_only_delay_pages(client):
    worker = client.server.query_worker_pid()
    engine = find_engine_pid(worker)
    helpers = [
        child.pid
        for child in psutil.Process(worker).children()
        if child.pid != engine and "handler.processes.child" in child.cmdline()
    ]
    assert len(helpers) == 3
    # A process that is stopped while it starts looks as if it hung.
    until(lambda: all(map(is_idle, helpers)))
    for pid in helpers:
        os.kill(pid, signal.SIGSTOP)

    # The decoder, the next one, and the writer stall for 5 s each.
    answers = [client.post(PAGE, PNG, deadline_seconds=50) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert {end["why"] for end in client.lines.find_events("decoder ended")} >= {
        "stalled"
    }
    assert {end["why"] for end in client.lines.find_events("writer ended")} == {
        "stalled"
    }


def test_killed_worker_answers_an_error_and_is_restarted(
    start_server,
):
    with start_server() as client, ThreadPoolExecutor(1) as threads:
        worker = client.server.query_worker_pid()
        children = [child.pid for child in list_family(worker)]
        future = threads.submit(
            httpx.post, client.server.predictions_url, content=LONG_PDF, timeout=60
        )
        # The engine may still be busy with its start: wait for the request, too.
        until(lambda: client.server.read_state().get("open") == "1")
        until(lambda: client.server.is_ready() and _is_working(find_engine_pid(worker)))

        os.kill(worker, signal.SIGKILL)

        answer = future.result(30)
        if client.server.plugin is None:
            # TorchServe answers 507 because it assumes an out-of-memory kill.
            assert answer.status_code in (500, 507)
        else:
            assert answer.status_code == 503
            assert answer.json()["code"] == "engine_unavailable"
            assert answer.headers["retry-after"] == "10"
            assert answer.headers["x-request-id"] == answer.json()["request_id"]
        until(lambda: not any(map(is_alive, children)))
        until(lambda: _has_new_worker(client, worker), 60)
        assert client.post(PAGE, PNG, max_output_tokens=5).status_code == 200


def test_deadline_returns_the_finished_pages(client):
    started = time.monotonic()

    answer = client.post(LARGEST_PDF, PDF, deadline_seconds=10).json()

    assert time.monotonic() - started < 20
    assert answer["status"] == "partial_success"
    unfinished = [page for page in answer["pages"] if page["status"] == "failure"]
    assert 0 < len(unfinished) < NUM_LARGEST_PAGES
    assert {page["error"]["code"] for page in unfinished} == {"deadline_exceeded"}
    assert [page["page"] for page in answer["pages"]] == list(
        range(1, NUM_LARGEST_PAGES + 1)
    )


def test_deadline_without_a_finished_page_is_a_timeout(client):
    answer = client.post(LONG_PDF, PDF, deadline_seconds=0.01)

    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")


@pytest.mark.slow
def test_stream_past_its_deadline_lists_unfinished_pages(client):
    answer = client.post(
        LARGEST_PDF, PDF, accept="application/x-ndjson", deadline_seconds=10
    )

    *pages, end = map(json.loads, answer.text.splitlines())
    assert end["status"] == "partial_success"
    assert {page["page"] for page in pages} == set(range(1, NUM_LARGEST_PAGES + 1))


@pytest.mark.slow
def test_stop_with_an_open_request_ends_all_processes(start_server):
    with start_server() as client, ThreadPoolExecutor(1) as threads:
        java = client.server.pid
        assert java is not None
        engines = client.server.read_engine_pids()
        # The engine started before the worker, as a child of this process.
        assert set(engines) <= client.server.own_pids
        pids = [*engines, *(process.pid for process in list_family(java))]
        scratch = client.server.scratch
        future = threads.submit(
            httpx.post, client.server.predictions_url, content=LONG_PDF, timeout=60
        )
        until(lambda: client.server.read_state().get("open") == "1")

        client.server.stop()

        with pytest.raises(httpx.TransportError):
            future.result(10)
    until(lambda: not any(map(is_alive, pids)))
    assert not scratch.exists()


@pytest.mark.slow
def test_requests_over_the_limit_are_refused_at_once(start_server):
    with start_server(CHANDRA_MAX_OPEN_REQUESTS="2") as client:
        with ThreadPoolExecutor(8) as threads:
            answers = list(
                threads.map(
                    lambda _: client.post(LONG_PDF, PDF, deadline_seconds=5), range(8)
                )
            )

        refusals = [answer for answer in answers if answer.status_code == 503]
        assert 1 <= len(refusals) <= 6
        assert {answer.json()["code"] for answer in refusals} == {"overloaded"}
        assert {answer.headers["retry-after"] for answer in refusals} == {"10"}
        assert client.post(PAGE, PNG, max_output_tokens=5).status_code == 200


@pytest.mark.slow
def test_worker_is_replaced_if_its_engine_cannot_restart(start_server, tmp_path):
    weights = tmp_path / "weights"
    shutil.copytree(MINI, weights)
    with start_server(MODEL_DIR=str(weights), CHANDRA_MAX_FAILED_STARTS="1") as client:
        worker = client.server.query_worker_pid()
        hidden = weights.rename(tmp_path / "hidden")

        with ThreadPoolExecutor(1) as threads:
            future = threads.submit(client.post, LONG_PDF, PDF)
            until(lambda: _is_working(find_engine_pid(worker)))
            os.kill(find_engine_pid(worker), signal.SIGKILL)
            answer = future.result()

        if answer.status_code == 200:  # some pages were finished before the kill
            codes = {page["error"]["code"] for page in answer.json()["pages"][-3:]}
        else:
            codes = {answer.json()["code"]}
        assert codes == {"engine_unavailable"}
        hidden.rename(weights)
        until(lambda: _has_new_worker(client, worker))
        assert client.post(PAGE, PNG, max_output_tokens=5).status_code == 200


@pytest.mark.slow
def test_weights_that_need_a_gpu_are_refused_without_one(start_server):
    start = start_server(wait=False, MODEL_ID="datalab-to/chandra")

    with start as client, pytest.raises(ServerFailedError, match="ALLOW_CPU=1"):
        client.server.wait_until_ready(60)


@pytest.mark.slow
def test_unknown_setting_stops_the_start_with_a_suggestion(start_server):
    start = start_server(wait=False, CHANDRA_MAX_PAGE="5")

    with start as client, pytest.raises(ServerFailedError, match="CHANDRA_MAX_PAGES"):
        client.server.wait_until_ready(60)


def _has_new_worker(client, old_pid: int) -> bool:
    """Return True if the server is ready with another worker process."""
    return bool(
        client.server.is_ready() and client.server.query_worker_pid() != old_pid
    )


def _is_working(pid: int) -> bool:
    return psutil.Process(pid).cpu_percent(0.2) > 30
