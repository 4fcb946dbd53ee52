"""Demo that reads the two samples and prints their Markdown."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

from server.archive import ROOT
from server.console import say
from server.status import loopback_opener
from server.torchserve import ServerFailedError, TorchServe

__all__ = ["MODEL_NOTE", "NEXT_STEP", "run_demo"]

SAMPLES = {
    ROOT / "samples" / "page.png": "image/png",
    ROOT / "samples" / "report.pdf": "application/pdf",
}
EMBEDDED_MODEL_ID = "mini"
MODEL_NOTE = (
    "note: mini is a small demonstration model that reads clean printed pages; "
    "it is not Chandra"
)
NEXT_STEP = (
    "next: MODEL_ID=datalab-to/chandra make serve"
    "  # Chandra, on a GPU of at least 24 GB"
)


def run_demo(server: TorchServe) -> None:
    """Read the samples with a ready server, and print their Markdown.

    Before it, print MODEL_NOTE if the server has loaded the embedded model. Raise
    ServerFailedError if the server does not answer with a document.
    """
    is_noted = False
    for sample, media_type in SAMPLES.items():
        started = time.monotonic()
        answer = _post_document(server.predictions_url, sample, media_type)
        seconds = time.monotonic() - started
        if not is_noted and answer["model"]["id"] == EMBEDDED_MODEL_ID:
            say(MODEL_NOTE)
            is_noted = True
        say()
        say(_format_heading(sample, answer, seconds))
        say()
        say(answer["markdown"] or "(no text)")
    say()


def _post_document(url: str, document: Path, media_type: str) -> Any:
    request = urllib.request.Request(
        url, document.read_bytes(), {"Content-Type": media_type}
    )
    try:
        with loopback_opener.open(request, timeout=120) as response:
            return json.load(response)
    except OSError as error:  # HTTPError is a subclass
        raise ServerFailedError(f"{document.name} was not read: {error}") from error


def _format_heading(sample: Path, answer: Any, seconds: float) -> str:
    """Return the line above a sample's Markdown: its name, its pages and the time."""
    num_pages = answer["usage"]["pages"]
    pages = "1 page" if num_pages == 1 else f"{num_pages} pages"
    failure = "" if answer["status"] == "success" else f", {answer['status']}"
    return f"--- {sample.relative_to(ROOT)}: {pages} in {seconds:.1f} s{failure}"
