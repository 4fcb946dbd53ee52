"""Status requests to a running TorchServe."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from server.archive import MODEL_NAME

__all__ = ["count_open_requests", "list_workers", "loopback_opener", "ping"]

TIMEOUT_SECONDS = 5

# The server is on this machine, so requests must not go through http_proxy.
loopback_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ping(address: str) -> int | None:
    """Return the HTTP status of /ping; None if the server does not answer."""
    try:
        with loopback_opener.open(
            f"{address}/ping", timeout=TIMEOUT_SECONDS
        ) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


def count_open_requests(address: str) -> int:
    """Return how many requests are open, as the plugin counts them.

    A request is open from the first byte of its head to the last byte of its answer.
    Return 0 if the server does not answer, or runs without the plugin.
    """
    try:
        try:
            answer = loopback_opener.open(f"{address}/ping", timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return int(json.load(answer).get("open", 0))
    except (OSError, ValueError, AttributeError):
        return 0


def list_workers(management_address: str) -> list[dict[str, Any]]:
    """Return the workers of the model, as the management API describes them.

    Raise OSError or ValueError if the API does not answer, or gives no such list.
    """
    url = f"{management_address}/models/{MODEL_NAME}"
    with loopback_opener.open(url, timeout=TIMEOUT_SECONDS) as response:
        workers: list[dict[str, Any]] = json.load(response)[0]["workers"]
    return workers
