"""A document to send, and an endpoint that answers as told."""

from __future__ import annotations

import PIL.Image
import pytest


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "page.png"
    PIL.Image.new("RGB", (200, 100), "white").save(path)
    return str(path)


@pytest.fixture
def answering(cloud):
    """What the endpoint answers, and what it was asked."""
    asked = []

    def answer(content, *, status="200 OK", headers=()):
        def invoked(environ, body):
            asked.append((environ, body))
            return status, list(headers), content

        cloud.invoked = invoked
        return asked

    return answer
