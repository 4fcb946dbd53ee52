"""Concurrent requests, which do not affect each other's answers."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy
import psutil
import pytest
from PIL import Image, ImageChops

from bench.soak.bombs import nested_forms
from tests import documents
from tests.server.processes import find_engine_pid
from tests.waiting import until

PNG, PDF = "image/png", "application/pdf"


def speckled_page(number: int) -> bytes:
    """Return a PNG of over a megabyte with a unique number on it."""
    page = documents.text_page([f"{number * 7919:06d}"], (720, 900))
    specks = numpy.random.default_rng(number).integers(0, 32, (900, 720, 3), "uint8")
    return documents.as_png(ImageChops.subtract(page, Image.fromarray(specks)))


@pytest.mark.slow
def test_32_requests_of_a_megabyte_each_get_the_right_answer(client):
    bodies = [speckled_page(number) for number in range(32)]
    assert min(map(len, bodies)) > 1_000_000
    # 32 tokens are enough for a block's box and its first letters.
    answers_alone = [
        client.post(body, PNG, max_output_tokens=32).json() for body in bodies
    ]

    with ThreadPoolExecutor(32) as threads:
        concurrent_answers = list(
            threads.map(
                lambda body: client.post(body, PNG, max_output_tokens=32), bodies
            )
        )

    assert {answer.status_code for answer in concurrent_answers} == {200}
    texts = [answer.json()["raw"] for answer in concurrent_answers]
    assert texts == [answer["raw"] for answer in answers_alone]
    assert len(set(texts)) > 24, "the answers are too alike to show anything"
    ids = [answer.headers["x-request-id"] for answer in concurrent_answers]
    assert len(set(ids)) == 32
    assert ids == [answer.json()["request_id"] for answer in concurrent_answers]


@pytest.mark.slow
def test_a_short_document_is_answered_while_a_long_one_is_read(client):
    long_document = documents.pdf([[f"Page {n}", "and more"] for n in range(40)])
    short = documents.as_png(documents.text_page(["Short"]))

    with ThreadPoolExecutor(1) as threads:
        long_answer = threads.submit(client.post, long_document, PDF)
        # After half a second of work, few of the 40 pages are done.
        engine = psutil.Process(find_engine_pid(client.server.query_worker_pid()))
        before = engine.cpu_times().user
        until(lambda: engine.cpu_times().user > before + 0.5)
        answer = client.post(short, PNG)
        assert not long_answer.done()
        assert answer.status_code == 200
        assert long_answer.result().json()["usage"]["pages"] == 40


@pytest.mark.slow
@pytest.mark.alone
def test_hostile_documents_do_not_block_other_pages(client):
    page = documents.as_png(documents.text_page(["Beside them"]))
    with ThreadPoolExecutor(4) as threads:
        hostile = [
            threads.submit(
                client.post, nested_forms(2, str(n)), PDF, deadline_seconds=12
            )
            for n in range(4)
        ]
        until(lambda: client.lines.find_events("decoder ended"))

        answers = [client.post(page, PNG, deadline_seconds=8) for _ in range(3)]
        statuses = {future.result().status_code for future in hostile}

    assert {answer.status_code for answer in answers} == {200}
    assert statuses == {504}


def test_bad_requests_do_not_affect_concurrent_good_ones(client):
    good = documents.as_png(documents.text_page(["Good"]))
    expected = client.post(good, PNG).json()["raw"]
    mixed = [(good, PNG), (b"junk", PNG), (good, PDF), (documents.truncated_pdf(), PDF)]

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda item: client.post(*item), mixed * 4))

    assert [answer.status_code for answer in answers] == [200, 415, 415, 422] * 4
    assert {a.json()["raw"] for a in answers if a.status_code == 200} == {expected}


@pytest.mark.slow
def test_a_stream_arrives_page_by_page(client):
    # The engine reads fewer pages at once, so the last ones wait for the first.
    document = documents.pdf([[f"Page {n}"] for n in range(40)])
    arrivals = []
    started = time.monotonic()

    with httpx.stream(
        "POST",
        client.server.predictions_url,
        content=document,
        headers={"Content-Type": PDF, "Accept": "application/x-ndjson"},
        timeout=60,
    ) as answer:
        for _line in answer.iter_lines():
            arrivals.append(time.monotonic())

    assert answer.headers["transfer-encoding"] == "chunked"
    assert len(arrivals) == 41
    assert arrivals[0] - started < 0.7 * (arrivals[-1] - started)
