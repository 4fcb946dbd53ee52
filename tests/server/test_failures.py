"""Processes die, clients leave, time runs out: nothing accepted is lost."""

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
from tests.server.processes import engine_pid, family, is_alive, is_idle
from tests.waiting import until

PNG, PDF = "image/png", "application/pdf"
PAGE = documents.as_png(documents.text_page(["A page"]))
LONG = documents.pdf([[f"Page {n}"] for n in range(60)])
NUM_ENDLESS = 400
ENDLESS = documents.pdf([[f"Page {n}"] for n in range(NUM_ENDLESS)])


def test_the_engine_process_killed_mid_page_costs_nothing_but_time(client):
    document = documents.pdf([[f"Page {n}"] for n in range(5)])
    expected = client.post(document, PDF).json()["raw"]
    worker = client.server.worker_pid()
    engine = engine_pid(worker)
    before = psutil.Process(engine).cpu_times().user

    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(client.post, document, PDF)
        until(lambda: psutil.Process(engine).cpu_times().user > before + 0.3)
        os.kill(engine, signal.SIGKILL)
        answer = future.result().json()

    assert answer["status"] == "success"
    assert answer["raw"] == expected
    assert max(page["attempts"] for page in answer["pages"]) == 2
    assert client.server.worker_pid() == worker
    assert engine_pid(worker) != engine


@pytest.mark.slow
def test_stopped_decoders_and_writers_only_delay_pages(client):
    worker = client.server.worker_pid()
    engine = engine_pid(worker)
    helpers = [
        child.pid
        for child in psutil.Process(worker).children()
        if child.pid != engine and "handler.processes.child" in child.cmdline()
    ]
    assert len(helpers) == 3
    # One that is stopped while it starts cannot be told from one that hangs.
    until(lambda: all(map(is_idle, helpers)))
    for pid in helpers:
        os.kill(pid, signal.SIGSTOP)

    # The decoder, the next one, and the writer stall for 5 s each.
    answers = [client.post(PAGE, PNG, deadline_seconds=50) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert {end["why"] for end in client.lines.events("decoder ended")} >= {"stalled"}
    assert {end["why"] for end in client.lines.events("writer ended")} == {"stalled"}


def test_the_worker_killed_mid_page_is_answered_with_an_error_and_comes_back(
    own_server,
):
    with own_server() as client, ThreadPoolExecutor(1) as threads:
        worker = client.server.worker_pid()
        children = [child.pid for child in family(worker)]
        future = threads.submit(
            httpx.post, client.server.predictions, content=LONG, timeout=60
        )
        # The engine may still be busy with its start: wait for the request, too.
        until(lambda: client.server.state().get("open") == "1")
        until(lambda: client.server.is_ready() and _is_working(engine_pid(worker)))

        os.kill(worker, signal.SIGKILL)

        answer = future.result(30)
        if client.server.plugin is None:
            # 507 is TorchServe's guess that whoever is killed had no memory left.
            assert answer.status_code in (500, 507)
        else:
            assert answer.status_code == 503
            assert answer.json()["code"] == "engine_unavailable"
            assert answer.headers["retry-after"] == "10"
            assert answer.headers["x-request-id"] == answer.json()["request_id"]
        until(lambda: not any(map(is_alive, children)))
        until(
            lambda: client.server.is_ready() and client.server.worker_pid() != worker,
            60,
        )
        assert client.post(PAGE, PNG, max_output_tokens=5).status_code == 200


def test_a_request_past_its_deadline_returns_the_pages_it_has(client):
    started = time.monotonic()

    answer = client.post(ENDLESS, PDF, deadline_seconds=10).json()

    assert time.monotonic() - started < 20
    assert answer["status"] == "partial_success"
    late = [page for page in answer["pages"] if page["status"] == "failure"]
    assert 0 < len(late) < NUM_ENDLESS
    assert {page["error"]["code"] for page in late} == {"deadline_exceeded"}
    assert [page["page"] for page in answer["pages"]] == list(range(1, NUM_ENDLESS + 1))


def test_a_request_past_its_deadline_with_nothing_done_is_a_timeout(client):
    answer = client.post(LONG, PDF, deadline_seconds=0.01)

    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")


@pytest.mark.slow
def test_a_stream_past_its_deadline_ends_with_what_is_missing(client):
    answer = client.post(
        ENDLESS, PDF, accept="application/x-ndjson", deadline_seconds=10
    )

    *pages, end = map(json.loads, answer.text.splitlines())
    assert end["status"] == "partial_success"
    assert {page["page"] for page in pages} == set(range(1, NUM_ENDLESS + 1))


@pytest.mark.slow
def test_a_server_stopped_with_a_request_in_flight_leaves_nothing_behind(own_server):
    with own_server() as client, ThreadPoolExecutor(1) as threads:
        java = client.server.pid
        assert java is not None
        engines = client.server.engine_pids()
        # It was loading before there was a worker.
        assert set(engines) <= client.server.own_pids
        everyone = [*engines, *(process.pid for process in family(java))]
        scratch = client.server.scratch
        future = threads.submit(
            httpx.post, client.server.predictions, content=LONG, timeout=60
        )
        until(lambda: client.server.state().get("open") == "1")

        client.server.stop()

        with pytest.raises(httpx.TransportError):
            future.result(10)
    until(lambda: not any(map(is_alive, everyone)))
    assert not scratch.exists()


@pytest.mark.slow
def test_more_requests_than_the_limit_are_turned_away_at_once(own_server):
    with own_server(CHANDRA_MAX_OPEN_REQUESTS="2") as client:
        with ThreadPoolExecutor(8) as threads:
            answers = list(
                threads.map(
                    lambda _: client.post(LONG, PDF, deadline_seconds=5), range(8)
                )
            )

        turned_away = [answer for answer in answers if answer.status_code == 503]
        assert 1 <= len(turned_away) <= 6
        assert {answer.json()["code"] for answer in turned_away} == {"overloaded"}
        assert {answer.headers["retry-after"] for answer in turned_away} == {"10"}
        assert client.post(PAGE, PNG, max_output_tokens=5).status_code == 200


@pytest.mark.slow
def test_an_engine_that_cannot_be_started_again_is_told_of_and_then_replaced(
    own_server, tmp_path
):
    weights = tmp_path / "weights"
    shutil.copytree(MINI, weights)
    with own_server(MODEL_DIR=str(weights), CHANDRA_MAX_FAILED_STARTS="1") as client:
        worker = client.server.worker_pid()
        hidden = weights.rename(tmp_path / "hidden")

        with ThreadPoolExecutor(1) as threads:
            future = threads.submit(client.post, LONG, PDF)
            until(lambda: _is_working(engine_pid(worker)))
            os.kill(engine_pid(worker), signal.SIGKILL)
            answer = future.result()

        if answer.status_code == 200:  # the pages before it died are worth having
            codes = {page["error"]["code"] for page in answer.json()["pages"][-3:]}
        else:
            codes = {answer.json()["code"]}
        assert codes == {"engine_unavailable"}
        hidden.rename(weights)
        until(lambda: client.server.is_ready() and client.server.worker_pid() != worker)
        assert client.post(PAGE, PNG, max_output_tokens=5).status_code == 200


@pytest.mark.slow
def test_weights_that_need_a_gpu_are_refused_where_there_is_none(own_server):
    start = own_server(wait=False, MODEL_ID="datalab-to/chandra")

    with start as client, pytest.raises(ServerFailedError, match="ALLOW_CPU=1"):
        client.server.wait_until_ready(60)


@pytest.mark.slow
def test_a_setting_nobody_knows_stops_the_start_with_its_nearest_neighbour(own_server):
    start = own_server(wait=False, CHANDRA_MAX_PAGE="5")

    with start as client, pytest.raises(ServerFailedError, match="CHANDRA_MAX_PAGES"):
        client.server.wait_until_ready(60)


def _is_working(pid: int) -> bool:
    return psutil.Process(pid).cpu_percent(0.2) > 30
