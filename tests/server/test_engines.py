"""Engine kinds behind a real server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import documents

PNG, PDF = "image/png", "application/pdf"


@pytest.mark.slow
def test_the_native_engine_reads_many_documents_at_once(start_server):
    document = documents.pdf([[f"Page {n}"] for n in range(6)])
    picture = documents.as_png(documents.text_page(["A page"]))

    with start_server(CHANDRA_MAX_OUTPUT_TOKENS="60") as client:
        with ThreadPoolExecutor(8) as threads:
            long = [threads.submit(client.post, document, PDF) for _ in range(3)]
            short = [threads.submit(client.post, picture, PNG) for _ in range(3)]
        answers = [future.result() for future in (*long, *short)]

    assert {answer.status_code for answer in answers} == {200}
    for answer, num_pages in zip(answers, [6, 6, 6, 1, 1, 1], strict=True):
        content = answer.json()
        assert content["model"]["engine"] == "native"
        assert content["status"] == "success"
        assert [page["page"] for page in content["pages"]] == [*range(1, num_pages + 1)]
        assert all(0 < page["output_tokens"] <= 60 for page in content["pages"])


@pytest.mark.slow
def test_cache_for_a_single_page_still_reads_all_pages(start_server):
    document = documents.pdf([[f"Page {n}"] for n in range(4)], size=(300, 300))

    with start_server(
        CHANDRA_KV_CACHE_TOKENS="500",
        CHANDRA_MAX_OUTPUT_TOKENS="40",
    ) as client:
        answer = client.post(document, PDF).json()

    assert answer["status"] == "success"
    assert len(answer["pages"]) == 4


@pytest.mark.slow
def test_generate_engine_reads_pages_if_configured(start_server):
    document = documents.pdf([[f"Page {n}"] for n in range(2)])

    with start_server(
        CHANDRA_ENGINE="generate", CHANDRA_MAX_OUTPUT_TOKENS="40"
    ) as client:
        answer = client.post(document, PDF).json()

    assert answer["model"]["engine"] == "generate"
    assert [page["status"] for page in answer["pages"]] == ["success"] * 2
