"""Management and metrics addresses, which accept only the requests that are needed."""

from __future__ import annotations

import socket

import httpx
import pytest

from server.java import TORCHSERVE_MAIN_CLASS
from tests import documents
from tests.waiting import until

PNG = "image/png"
PAGE = documents.as_png(documents.text_page(["A page"]))


def request_management(client, target: str, method: str = "GET") -> httpx.Response:
    return httpx.request(method, client.server.management_address + target, timeout=10)


def test_the_model_and_its_worker_are_described(client):
    [model] = request_management(client, "/models/chandra").json()

    assert model["workers"][0]["status"] == "READY"
    assert model["modelName"] == "chandra"


@pytest.mark.parametrize(
    "target",
    [
        "/models/chandra?customized=true",
        "/models/chandra?customized=false",
        "/models/chandra?x=1;customized=true",
        "/models/chandra?%63ustomized=true",
        "/models/chandra?limit=1",
    ],
)
def test_management_queries_take_no_parameters(client, target):
    answer = request_management(client, target)

    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_request"


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/ping",
        "/models",
        "/models?limit=1",
        "/models/",
        "/models/chandra/",
        "/models/chandra/all",
        "/models/chandra/0.1.0?customized=true",
        "/models/%63handra?customized=true",
        "/models/chandra%3Fcustomized=true",
        "//models/chandra?customized=true",
        "/v1/models/chandra",
        "/api-description",
        "/metrics",
    ],
)
def test_other_management_paths_are_not_found(client, target):
    answer = request_management(client, target)

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "OPTIONS", "HEAD"])
def test_management_address_accepts_only_get(client, method):
    answer = request_management(client, "/models/chandra", method)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"


def test_a_large_refused_body_does_not_hide_the_answer(client):
    answer = httpx.post(
        f"{client.server.management_address}/models/chandra?url=x",
        content=bytes(5_000_000),
    )

    assert answer.json()["code"] == "bad_request"


def test_only_the_metrics_are_at_the_metrics_address(client):
    address = client.server.metrics_address

    assert httpx.get(f"{address}/metrics?name[]=nothing").status_code == 200
    assert httpx.get(f"{address}/").status_code == 404
    assert httpx.get(f"{address}/models/chandra").status_code == 404
    assert httpx.post(f"{address}/metrics").status_code == 405


def test_documents_are_read_after_a_metadata_request(client):
    request_management(client, "/models/chandra?customized=true")

    assert client.post(PAGE, PNG, max_output_tokens=5).status_code == 200


@pytest.mark.parametrize("key", ["grpc_inference_port", "grpc_management_port"])
def test_nothing_listens_for_grpc(client, key):
    port = int(client.server.properties[key])

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


@pytest.mark.slow
def test_ping_is_503_if_the_worker_gets_no_requests(start_server):
    """TorchServe's own main class accepts a request that blocks its queue."""
    with start_server(
        main_class=TORCHSERVE_MAIN_CLASS, CHANDRA_CPU_THREADS="1"
    ) as client:
        answer = request_management(client, "/models/chandra?customized=true")

        until(lambda: _read_ping(client) == (503, "stuck"), 10)

        assert answer.status_code == 200
        assert len(client.lines.find_events("describe")) == 1
        num_lines = len(list(client.lines))
        assert num_lines < 100


def _read_ping(client) -> tuple[int, str]:
    answer = httpx.get(f"{client.server.address}/ping")
    return answer.status_code, answer.json()["status"]
