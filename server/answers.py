"""What a TorchServe answers when it is asked how it is."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from server.archive import MODEL_NAME

__all__ = ["num_open", "opener", "ping", "workers"]

TIMEOUT_SECONDS = 5

# The server is on this machine, whatever http_proxy says.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ping(address: str) -> int | None:
    """The status of /ping; None where nobody answers."""
    try:
        with opener.open(f"{address}/ping", timeout=TIMEOUT_SECONDS) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


def num_open(address: str) -> int:
    """Documents on their way in or out, as the plugin says; 0 where nobody does."""
    try:
        try:
            answer = opener.open(f"{address}/ping", timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return int(json.load(answer).get("open", 0))
    except (OSError, ValueError, AttributeError):
        return 0


def workers(management_address: str) -> list[dict[str, Any]]:
    """The model's workers; raises OSError or ValueError where nobody says."""
    url = f"{management_address}/models/{MODEL_NAME}"
    with opener.open(url, timeout=TIMEOUT_SECONDS) as response:
        found: list[dict[str, Any]] = json.load(response)[0]["workers"]
    return found
