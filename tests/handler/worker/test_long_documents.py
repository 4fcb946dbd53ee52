"""Document of a thousand pages, which is read a few pages at a time.

The handler is the real one, and so are its decoders and writers; only its engine
answers at once.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from handler.engine import EngineInfo, EngineOutput, EngineRequest, FinishReason
from handler.processes.pool import Pool
from handler.reading.reader import Reader
from handler.schema import ModelInfo, Page
from handler.service import ChandraHandler
from handler.settings import HandlerSettings
from handler.worker.pump import Pump
from tests.documents import pdf
from tests.fakes import FakeContext

NUM_PAGES = 1000
MAX_PAGES_IN_FLIGHT = 4
BOOK = pdf([[f"Page {number}"] for number in range(1, NUM_PAGES + 1)])
MAX_SIDE = 128
"""Limit for the images that the model gets; small ones are drawn in half the time."""
PAGE_BYTES = 200_000
"""Lower bound for the size of a page's pixels."""
MEBIBYTE = 1024**2
TEXT = (
    '<div data-bbox="[0, 0, 1024, 1024]" data-label="Text">'
    "<p>This is page NUMBER</p></div>"
)
FIGURE = (
    '<div data-bbox="[0, 0, 1024, 1024]" data-label="Image"><img alt="a figure"></div>'
)


class FastEngines:
    """Fake engines that answer a page as soon as they get it."""

    info = EngineInfo("mini", None, "mini", "fast", "cpu", MAX_PAGES_IN_FLIGHT)
    max_pages_in_flight = MAX_PAGES_IN_FLIGHT

    def __init__(
        self, read: Callable[[int], None] = lambda number: None, answer: str = TEXT
    ) -> None:
        self._read = read
        self._answer = answer
        self.num_read = 0

    def submit(self, request: EngineRequest) -> Future[EngineOutput]:
        assert len(request.page.pixels) > PAGE_BYTES
        self.num_read += 1
        self._read(self.num_read)
        future: Future[EngineOutput] = Future()
        text = self._answer.replace("NUMBER", str(request.page.number))
        future.set_result(
            EngineOutput(request.id, FinishReason.STOP, text, num_output_tokens=5)
        )
        return future

    def cancel(self, engine_request_id: str) -> None:
        pass


class Clock:
    """Clock that jumps past every deadline once `is_late` is set."""

    def __init__(self) -> None:
        self.is_late = False

    def __call__(self) -> float:
        return time.monotonic() + (1_000_000.0 if self.is_late else 0.0)


@pytest.fixture(scope="module")
def pools():
    pools = Pool(2), Pool(1)
    yield pools
    for pool in pools:
        pool.close()


@pytest.fixture
def ask_handler(pools):
    """Function that returns the context and the frames of the handler's answer."""

    def ask(
        engines: FastEngines,
        accept: str,
        clock=time.monotonic,
        max_reply_bytes: int = 100 * MEBIBYTE,
        stream_replies: bool = True,
        **headers: str,
    ):
        handler = ChandraHandler()
        handler.settings = HandlerSettings(
            deadline_seconds=None,
            max_side=MAX_SIDE,
            max_reply_bytes=max_reply_bytes,
            stream_replies=stream_replies,
        )
        handler.model = ModelInfo("mini", None, "fast")
        decoders, writers = pools
        handler.reader = Reader(handler.settings, engines, decoders, writers, clock)
        handler.pump = Pump(
            handler.read,
            max_open_requests=4,
            max_reply_bytes=max_reply_bytes,
            wait_seconds=0.05,
            report=lambda request, reply: None,
        )
        sent = {"Content-Type": "application/pdf", "Accept": accept, **headers}
        frames: list[bytes] = []
        try:
            while True:
                context = FakeContext({0: "id"}, {0: sent})
                # TorchServe sends no body for a stream that has begun.
                row = {} if frames else {"body": bytearray(BOOK)}
                frame = handler.handle([row], context)[0]
                if 0 in context.request_ids:
                    frames.append(frame)
                    criteria = context.stopping_criteria
                    if criteria is None or criteria[0](frame) is not False:
                        return context, frames
        finally:
            handler.pump.close()

    return ask


def num_decoded_pages() -> int:
    return sum(type(o) is Page and bool(o.pixels) for o in gc.get_objects())


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_streaming_a_thousand_pages_takes_constant_memory(ask_handler):
    alive: list[int] = []
    memory: list[int] = []
    gc.collect()
    # Other tests in this process may have kept some pages.
    before = num_decoded_pages()

    def measure(number: int) -> None:
        if number % 100 == 0:
            alive.append(num_decoded_pages() - before)
            memory.append(resident_bytes())

    _, frames = ask_handler(FastEngines(measure), "application/x-ndjson")

    lines = [json.loads(line) for line in b"".join(frames).splitlines()]
    *pages, end = lines
    assert sorted(line["page"] for line in pages) == list(range(1, NUM_PAGES + 1))
    assert {line["status"] for line in pages} == {"success"}
    assert all(f"page {line['page']}" in line["markdown"] for line in pages)
    assert (end["event"], end["status"]) == ("end", "success")
    # Lines are sent as pages are read, not at the end.
    assert len(frames) > 20
    assert len(alive) == NUM_PAGES // 100
    assert max(alive) <= MAX_PAGES_IN_FLIGHT + 2
    # If they were kept, the pixels of the last 900 pages would take 180 MB.
    assert max(memory) - memory[0] < 48 * MEBIBYTE


def test_pages_read_before_the_deadline_are_returned(ask_handler):
    clock = Clock()

    def end_time_after_pages(number: int) -> None:
        clock.is_late = clock.is_late or number == 120

    context, [body] = ask_handler(
        FastEngines(end_time_after_pages),
        "application/json",
        clock,
        **{"X-Amzn-SageMaker-Custom-Attributes": "deadline_seconds=600"},
    )

    answer = json.loads(body)
    assert context.statuses == {0: 200}
    assert answer["status"] == "partial_success"
    assert [page["page"] for page in answer["pages"]] == list(range(1, NUM_PAGES + 1))
    read = [page["page"] for page in answer["pages"] if page["status"] == "success"]
    assert read == list(range(1, 121))
    codes = Counter(page["error"] and page["error"]["code"] for page in answer["pages"])
    assert codes == {None: 120, "deadline_exceeded": 880}


def test_deadline_fails_each_page_left_in_a_stream(ask_handler):
    clock = Clock()

    def end_time_after_pages(number: int) -> None:
        clock.is_late = clock.is_late or number == 30

    _, frames = ask_handler(
        FastEngines(end_time_after_pages),
        "application/x-ndjson",
        clock,
        **{"X-Amzn-SageMaker-Custom-Attributes": "deadline_seconds=600"},
    )

    *pages, end = [json.loads(line) for line in b"".join(frames).splitlines()]
    assert end["status"] == "partial_success"
    assert Counter(line["status"] for line in pages) == {"success": 30, "failure": 970}
    assert {line["page"] for line in pages} == set(range(1, NUM_PAGES + 1))


def test_reading_stops_when_pictures_exceed_the_limit(ask_handler):
    """Stop before the last page, when all pictures would be in memory."""
    engines = FastEngines(answer=FIGURE)

    context, [body] = ask_handler(
        engines,
        "application/json",
        max_reply_bytes=20_000,
        **{"X-Amzn-SageMaker-Custom-Attributes": "include_images=true"},
    )

    assert context.statuses == {0: 413}
    assert "ask for fewer pages, without images" in json.loads(body)["detail"]
    assert engines.num_read < NUM_PAGES / 4


def test_ndjson_is_one_frame_if_replies_are_not_streamed(ask_handler):
    context, [body] = ask_handler(
        FastEngines(),
        "application/x-ndjson",
        stream_replies=False,
        **{"X-Amzn-SageMaker-Custom-Attributes": "pages=1-3"},
    )

    *pages, end = map(json.loads, body.splitlines())
    assert context.statuses == {0: 200}
    assert context.stopping_criteria is None
    assert [page["page"] for page in pages] == [1, 2, 3]
    assert (end["event"], end["status"]) == ("end", "success")


def test_ndjson_that_is_not_streamed_is_not_recommended(ask_handler):
    context, [body] = ask_handler(
        FastEngines(answer=FIGURE),
        "application/x-ndjson",
        max_reply_bytes=20_000,
        stream_replies=False,
        **{"X-Amzn-SageMaker-Custom-Attributes": "include_images=true;pages=1-300"},
    )

    assert context.statuses == {0: 413}
    assert json.loads(body)["detail"].endswith("ask for fewer pages or without images")
