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

__all__ = ["run_demo"]

SAMPLES = {
    ROOT / "samples" / "page.png": "image/png",
    ROOT / "samples" / "report.pdf": "application/pdf",
}


def run_demo(server: TorchServe) -> None:
    """Read the samples with a ready server, and print their Markdown.

    Raise ServerFailedError if the server does not answer with a document.
    """
    for sample, media_type in SAMPLES.items():
        started = time.monotonic()
        answer = _post_document(server.predictions_url, sample, media_type)
        seconds = time.monotonic() - started
        say(f"--- {sample.relative_to(ROOT)}")
        say(answer["markdown"] or "(no text)")
        usage = answer["usage"]
        say(
            f"--- {answer['status']}: {usage['pages']} page(s), "
            f"{usage['output_tokens']} tokens in {seconds:.1f} s"
        )
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
