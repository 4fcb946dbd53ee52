"""Fixtures: a document to send, and an endpoint with a scripted response."""

from __future__ import annotations

import PIL.Image
import pytest


@pytest.fixture
def picture(tmp_path):
    """Return the path of a PNG of one page."""
    path = tmp_path / "page.png"
    PIL.Image.new("RGB", (200, 100), "white").save(path)
    return str(path)


@pytest.fixture
def set_answer(cloud):
    """Return a function that sets the response of the endpoint to every request.

    The function returns a list, to which each request is added as environ and body.
    """
    requests = []

    def set_response(content, *, status="200 OK", headers=()):
        def answer(environ, body):
            requests.append((environ, body))
            return status, list(headers), content

        cloud.invoked = answer
        return requests

    return set_response
