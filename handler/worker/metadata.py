"""Requests for the model's own metadata, which TorchServe mixes with documents."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any

from handler.http.reply import Reply

__all__ = ["MetadataRequests", "asks_for_metadata"]

logger = logging.getLogger(__name__)

MAX_REQUEST_IDS = 64
"""Number of answered requests for metadata whose ids are remembered."""


def asks_for_metadata(row: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Return whether TorchServe asks for the model's own metadata.

    Such a request has the header and no body; a document has a body, even if empty.
    """
    return not row and headers.get("describe") == "True"


class MetadataRequests:
    """Answers requests for metadata with `description`, which is JSON.

    TorchServe requeues such a request before sending it, so it repeats for ever and
    blocks the documents behind it. A second answer would reach the client as the
    answer to its next request.
    """

    def __init__(self, description: bytes) -> None:
        self._description = description
        # Bounded, because a client may send many of these requests.
        self._request_ids: deque[str] = deque(maxlen=MAX_REQUEST_IDS)
        self.is_blocking = False
        """True if the last call repeated an answered request for metadata."""

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._request_ids

    def answer(self, request_id: str) -> Reply:
        """Return the reply with the metadata, remember the request, and log it."""
        self._request_ids.append(request_id)
        logger.info("describe", extra={"request_id": request_id})
        return Reply(200, "application/json", self._description)

    def drop_answered(self, context: Any, open_ids: Collection[str]) -> None:
        """Remove requests that have been answered already from `context.request_ids`.

        `open_ids` are the ids of the requests without an answer. Updates `is_blocking`,
        and logs an error when it becomes true.
        """
        repeated = [
            index
            for index, request_id in context.request_ids.items()
            if request_id in self and request_id not in open_ids
        ]
        for index in repeated:
            del context.request_ids[index]
        if repeated and not self.is_blocking:
            logger.error(
                "documents blocked", extra={"request_id": self._request_ids[-1]}
            )
        self.is_blocking = bool(repeated)
