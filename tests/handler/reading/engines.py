"""Fake engines that a test controls, and documents for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

from PIL import Image

from handler.engine import EngineInfo, EngineOutput, EngineRequest, FinishReason
from handler.schema import PageResult
from tests.documents import as_png, pdf, png_bomb

TEXT = '<div data-bbox="[0, 0, 1024, 1024]" data-label="Text"><p>Hello</p></div>'
FIGURE = (
    '<div data-bbox="[256, 256, 768, 768]" data-label="Image">'
    '<img alt="a red square"></div>'
)
RED = (200, 30, 30)
SLOW_IMAGE = png_bomb(9900)
"""Image just below the limit of pixels; its decoding takes far longer than
`SHORT_SECONDS`."""
SHORT_SECONDS = 0.01
"""Time limit in which no decoder can finish."""
TOO_LITTLE_MEMORY = 20 * 1024**2
"""Limit in bytes for the memory of a process with which every call crashes."""


class Clock:
    """Clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class PassingClock(Clock):
    """Clock that advances with every reading."""

    def __call__(self) -> float:
        self.advance(20.0)
        return self.now


class FakeEngines:
    """Fake engines that answer a page at once, on request of the test, or never."""

    def __init__(
        self,
        answers: Mapping[int, str | EngineOutput] | None = None,
        *,
        max_pages_in_flight: int = 1,
        submitted: Callable[[], None] = lambda: None,
    ) -> None:
        self.info = EngineInfo("mini", None, "mini", "fake", "cpu", max_pages_in_flight)
        self.max_pages_in_flight = max_pages_in_flight
        self.requests: list[EngineRequest] = []
        self.cancelled: list[int] = []
        """Numbers of the cancelled pages."""
        self._answers = answers or {}
        self.submitted = submitted
        self._futures: dict[int, Future[EngineOutput]] = {}

    def submit(self, request: EngineRequest) -> Future[EngineOutput]:
        number = request.page.number
        self.requests.append(request)
        self._futures[number] = Future()
        if number in self._answers:
            self.finish(number, self._answers[number])
        self.submitted()
        return self._futures[number]

    def cancel(self, engine_request_id: str) -> None:
        self.cancelled += [
            s.page.number for s in self.requests if s.id == engine_request_id
        ]

    def finish(self, number: int, answer: str | EngineOutput = TEXT) -> None:
        if isinstance(answer, str):
            answer = EngineOutput("id", FinishReason.STOP, answer, num_output_tokens=5)
        self._futures[number].set_result(answer)

    @property
    def numbers(self) -> list[int]:
        """Numbers of the submitted pages, in order."""
        return [request.page.number for request in self.requests]


def pdf_of(num_pages: int) -> bytes:
    return pdf([[f"Page {number}"] for number in range(1, num_pages + 1)])


def page_with_a_red_square() -> bytes:
    """Return a white page of 400 x 320 pixels with a red box at 100, 80, 300, 240."""
    page = Image.new("RGB", (400, 320), "white")
    page.paste(RED, (100, 80, 300, 240))
    return as_png(page)


def code_of(page: PageResult) -> str | None:
    return None if page.error is None else page.error.code


def warnings_of(page: PageResult) -> list[str]:
    return [warning.code for warning in page.content.warnings]


def num_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
