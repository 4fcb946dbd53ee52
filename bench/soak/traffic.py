"""Documents with known answers, and clients that check every answer."""

from __future__ import annotations

import io
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from mini.pages import Domain, RenderedPage, render_page

__all__ = [
    "SMALL",
    "AnswerTally",
    "JudgedAnswer",
    "PageWithText",
    "encode_png",
    "judge",
    "read_baseline",
    "render_pages",
    "send_and_judge",
]

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
SMALL = Domain(
    widths=(256, 300), heights=(256, 300), max_blocks=2, max_characters=40, clean=1.0
)
CLIENT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class PageWithText:
    """Page image with the text that the idle server reads from it."""

    body: bytes
    text: str


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """Answer with the verdict of its client.

    `verdict` is `read`, `refused` (503 with Retry-After), or the fault: `crossed`
    (another document's text or label), `no_retry_after`, `error` (any other status)
    or `dropped` (no answer at all).
    """

    verdict: str
    status: int | None
    code: str | None
    seconds: float


@dataclass
class AnswerTally:
    """Thread-safe counter of outcomes."""

    verdicts: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, outcome: JudgedAnswer) -> None:
        with self._lock:
            self.verdicts[outcome.verdict] += 1
            self.codes[f"{outcome.status} {outcome.code or ''}".strip()] += 1
            self.seconds.append(outcome.seconds)

    @property
    def num_faults(self) -> int:
        """Number of answers that are neither the right text nor a proper 503."""
        return self.verdicts.total() - self.verdicts["read"] - self.verdicts["refused"]

    def share(self, verdict: str) -> float:
        """Return the share of a verdict among all answers; 0 without answers."""
        return self.verdicts[verdict] / max(1, self.verdicts.total())


def render_pages(seed: str, num_pages: int) -> list[RenderedPage]:
    """Draw small pages with text; the same seed gives the same pages."""
    rng = random.Random(seed)
    pages: list[RenderedPage] = []
    while len(pages) < num_pages:
        page = render_page(rng, SMALL)
        if page.blocks:
            pages.append(page)
    return pages


def encode_png(page: RenderedPage) -> bytes:
    stream = io.BytesIO()
    page.image.save(stream, "PNG")
    return stream.getvalue()


def read_baseline(address: str, pages: Sequence[RenderedPage]) -> list[PageWithText]:
    """Read each page once on the idle server, and return the texts that it reads.

    Pages without text are left out, and all but the first of those with equal texts.
    Raise httpx.HTTPError if the server does not answer with 200.
    """
    samples: dict[str, PageWithText] = {}
    for page in pages:
        body = encode_png(page)
        answer = _post(address, body, "baseline")
        answer.raise_for_status()
        if answer.text.strip():
            samples.setdefault(answer.text, PageWithText(body, answer.text))
    return list(samples.values())


def send_and_judge(
    address: str, sample: PageWithText, label: str, samples: Sequence[PageWithText]
) -> JudgedAnswer:
    """Send one document under a label and judge the answer.

    A text is crossed if it equals another sample's text. In another batch, a bfloat16
    model may read a letter differently, but never a whole other page.
    """
    started = time.monotonic()
    try:
        answer = _post(address, sample.body, label)
    except httpx.HTTPError as error:
        seconds = time.monotonic() - started
        return JudgedAnswer("dropped", None, type(error).__name__, seconds)
    seconds = time.monotonic() - started
    verdict, code = judge(answer, sample, label, samples)
    return JudgedAnswer(verdict, answer.status_code, code, seconds)


def judge(
    answer: httpx.Response,
    sample: PageWithText,
    label: str,
    samples: Sequence[PageWithText],
) -> tuple[str, str | None]:
    """Return the verdict on an answer, and the error code; None for a status of 200."""
    if answer.status_code == 200:
        fields = answer.headers.get(ATTRIBUTES, "").split(";")
        others = {other.text for other in samples} - {sample.text}
        is_crossed = f"label={label}" not in fields or answer.text in others
        return ("crossed" if is_crossed else "read"), None
    try:
        code = str(answer.json().get("code"))
    except ValueError:
        code = "no problem+json"
    if answer.status_code != 503:
        return "error", code
    return ("refused" if "Retry-After" in answer.headers else "no_retry_after"), code


def _post(address: str, body: bytes, label: str) -> httpx.Response:
    return httpx.post(
        f"{address}/invocations",
        content=body,
        headers={
            "Content-Type": "image/png",
            "Accept": "text/plain",
            ATTRIBUTES: f"label={label};max_output_tokens=48",
        },
        timeout=CLIENT_SECONDS,
    )
