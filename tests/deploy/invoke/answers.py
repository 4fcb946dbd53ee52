"""Responses of an endpoint, as values."""

from __future__ import annotations

import json

PAGE = {
    "page": 1,
    "status": "success",
    "width": 200,
    "height": 100,
    "rotation": 0,
    "markdown": "# Title",
    "html": "<h1>Title</h1>",
    "blocks": [
        {"label": "Title", "bbox": [20, 10, 120, 30], "html": "<h1>Title</h1>"},
        {"label": "Picture", "bbox": None, "html": '<img src="page-1-figure-1.webp">'},
    ],
    "images": {"page-1-figure-1.webp": "QUJD"},
    "raw": "",
    "finish_reason": "stop",
    "attempts": 1,
    "output_tokens": 5,
    "warnings": [],
    "error": None,
}


FAILED = {
    **PAGE,
    "page": 2,
    "status": "failure",
    "markdown": "",
    "blocks": [],
    "error": {"code": "unreadable_document", "detail": "page 2 ends early"},
}


DOCUMENT = {
    "request_id": "r",
    "status": "partial_success",
    "model": {"id": "mini", "revision": None, "engine": "generate"},
    "num_pages": 2,
    "warnings": [],
    "pages": [PAGE, FAILED],
    "markdown": "# Title",
    "processing_time": 1.5,
    "usage": {"pages": 2, "output_tokens": 5},
}


END = {"event": "end", **{k: v for k, v in DOCUMENT.items() if k != "pages"}}


def to_ndjson(*events):
    """Return events as JSON Lines, in bytes."""
    return "".join(json.dumps(event) + "\n" for event in events).encode()
