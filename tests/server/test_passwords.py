"""Passwords of documents, which appear in no log line."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from tests import documents

PASSWORD = "hunter2-must-not-be-logged"
PAGE = documents.as_png(documents.text_page(["A page"]))
BASE64 = base64.b64encode(PAGE).decode()
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


def post_in_json(client, password: str, **members: object) -> httpx.Response:
    answer: httpx.Response = client.post_json(
        {"document": BASE64, "password": password, **members}
    )
    return answer


def post_in_header(client, password: str) -> httpx.Response:
    attributes = f"pages=1;password={password}"
    answer: httpx.Response = client.post(
        PAGE, "image/png", headers={ATTRIBUTES: attributes}
    )
    return answer


def post_in_form(client, password: str) -> httpx.Response:
    return httpx.post(
        client.server.predictions_url,
        files={"document": ("page.png", PAGE, "image/png")},
        data={"password": password},
        timeout=60,
    )


@pytest.fixture
def check_that_password_is_not_logged(client):
    """Check after the test that the password is in no log line."""
    yield
    assert [line for line in client.lines if PASSWORD in line] == []


@pytest.mark.usefixtures("check_that_password_is_not_logged")
@pytest.mark.parametrize("send", [post_in_json, post_in_header, post_in_form])
def test_a_password_is_accepted_and_not_logged(client, send):
    answer = send(client, PASSWORD)

    assert answer.status_code == 200, answer.text
    assert PASSWORD not in answer.text
    assert PASSWORD not in str(answer.headers)


@pytest.mark.usefixtures("check_that_password_is_not_logged")
def test_a_password_in_the_query_is_refused_and_not_logged(client):
    answer = client.post(PAGE, "image/png", password=PASSWORD)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_option")
    assert "not accepted in the query string" in answer.json()["detail"]
    assert PASSWORD not in answer.text


@pytest.mark.usefixtures("check_that_password_is_not_logged")
@pytest.mark.parametrize(
    "send",
    [
        lambda client: post_in_json(client, PASSWORD, pages="x"),
        lambda client: post_in_json(client, PASSWORD, unknown=1),
        lambda client: post_in_json(client, PASSWORD * 1000),
        lambda client: client.post_json({"document": BASE64, "password": [PASSWORD]}),
        lambda client: client.post_json({"document": BASE64, "pasword": PASSWORD}),
        lambda client: post_in_header(client, f"a;{PASSWORD}"),
        lambda client: client.post(
            json.dumps({"password": PASSWORD}).encode()[:-1], "application/json"
        ),
    ],
    ids=["pages", "unknown", "long", "list", "misspelt", "semicolon", "cut"],
)
def test_an_error_beside_a_password_does_not_repeat_it(client, send):
    answer = send(client)

    assert 400 <= answer.status_code < 500
    assert PASSWORD not in answer.text
