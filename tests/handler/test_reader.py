"""How the pages of a document go to the engine, and come back."""

from __future__ import annotations

import base64
import io
import itertools
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from PIL import Image

from handler.addresses import address_from
from handler.engine import EngineInfo, FinishReason, Generation, Sequence
from handler.errors import (
    DeadlineExceededError,
    EngineError,
    InvalidOptionError,
    UnreadableDocumentError,
)
from handler.pool import Pool
from handler.profiles import PROFILES
from handler.prompts import load_prompts
from handler.reader import Reader
from handler.reading import Reading
from handler.request import OCRRequest
from handler.schema import Options, PageError, PageResult, Status
from handler.settings import HandlerSettings
from tests.documents import (
    as_png,
    pdf,
    pdf_with_one_bad_page,
    png_bomb,
    text_page,
    truncated_pdf,
)
from tests.s3 import Asked, s3_on_loopback

TEXT = '<div data-bbox="[0, 0, 1024, 1024]" data-label="Text"><p>Hello</p></div>'
FIGURE = (
    '<div data-bbox="[256, 256, 768, 768]" data-label="Image">'
    '<img alt="a red square"></div>'
)
RED = (200, 30, 30)
SLOW = png_bomb(9900)
"""Just under the limit of pixels; decoding it takes far longer than `MOMENT`."""
MOMENT = 0.01
TOO_LITTLE_MEMORY = 20 * 1024**2
"""Decoders that have no more end at once, whatever they are given."""


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class PassingClock(Clock):
    """A clock on which a while has passed at every look."""

    def __call__(self) -> float:
        self.advance(20.0)
        return self.now


class FakeEngines:
    """Engines that answer a page at once, when the test says so, or never."""

    def __init__(
        self,
        answers: Mapping[int, str | Generation] | None = None,
        *,
        num_slots: int = 1,
        submitted: Callable[[], None] = lambda: None,
    ) -> None:
        self.info = EngineInfo("mini", None, "mini", "fake", "cpu", num_slots)
        self.num_slots = num_slots
        self.sequences: list[Sequence] = []
        self.cancelled: list[int] = []
        """The pages that were given up."""
        self._answers = answers or {}
        self._submitted = submitted
        self._futures: dict[int, Future[Generation]] = {}

    def submit(self, sequence: Sequence) -> Future[Generation]:
        number = sequence.page.number
        self.sequences.append(sequence)
        self._futures[number] = Future()
        if number in self._answers:
            self.finish(number, self._answers[number])
        self._submitted()
        return self._futures[number]

    def cancel(self, sequence_id: str) -> None:
        self.cancelled += [s.page.number for s in self.sequences if s.id == sequence_id]

    def finish(self, number: int, answer: str | Generation = TEXT) -> None:
        if isinstance(answer, str):
            answer = Generation("id", FinishReason.STOP, answer, num_output_tokens=5)
        self._futures[number].set_result(answer)

    @property
    def numbers(self) -> list[int]:
        """The pages that were submitted, in that order."""
        return [sequence.page.number for sequence in self.sequences]


@pytest.fixture(scope="module")
def decoders():
    pool = Pool(2)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def writers():
    pool = Pool(1)
    yield pool
    pool.close()


@pytest.fixture
def without_memory():
    """A pool whose processes crash."""
    pool = Pool(1, memory_bytes=TOO_LITTLE_MEMORY)
    yield pool
    pool.close()


@pytest.fixture
def busy(tmp_path):
    """A pool whose only process is at work as long as the test runs."""
    pool = Pool(1)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    holder = Thread(target=pool.call, args=(60, Path.read_text, gate))
    holder.start()
    # Opened once the call has it open, and so has the process.
    with gate.open("w"):
        yield pool
    holder.join()
    pool.close()


@pytest.fixture
def reader_with(decoders, writers):
    """Makes readers; they share the pools where a test brings none."""

    def make(
        engines: FakeEngines,
        clock: Callable[[], float] = time.monotonic,
        decoders: Pool = decoders,
        writers: Pool = writers,
        **settings: Any,
    ) -> Reader:
        return Reader(HandlerSettings(**settings), engines, decoders, writers, clock)

    return make


@pytest.fixture
def opened(reader_with):
    """Opens documents, received now, and closes them after the test."""
    readings: list[Reading] = []

    def open_it(
        content: bytes,
        reader: Reader | None = None,
        received_at: float | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
        **options: Any,
    ) -> Reading:
        reader = reader or reader_with(FakeEngines())
        received_at = time.monotonic() if received_at is None else received_at
        request = OCRRequest(content, None, Options(**options), None)
        readings.append(reader.open("id", request, received_at, is_cancelled))
        return readings[-1]

    yield open_it
    for reading in readings:
        reading.close()


@pytest.fixture
def read(reader_with, opened):
    """All pages of a document by number; one without an answer takes a minute."""

    def read_it(
        content: bytes, engines: FakeEngines, options: Any = None, **settings: Any
    ) -> dict[int, PageResult]:
        reader = reader_with(engines, **settings)
        pages = reader.pages(opened(content, reader, **(options or {})))
        return {page.page: page for page in pages}

    return read_it


def pdf_of(num_pages: int) -> bytes:
    return pdf([[f"Page {number}"] for number in range(1, num_pages + 1)])


def page_with_a_red_square() -> bytes:
    """White, 400 x 320 pixels, and red where FIGURE says: 100, 80, 300, 240."""
    page = Image.new("RGB", (400, 320), "white")
    page.paste(RED, (100, 80, 300, 240))
    return as_png(page)


def code_of(page: PageResult) -> str | None:
    return None if page.error is None else page.error.code


def warnings_of(page: PageResult) -> list[str]:
    return [warning.code for warning in page.content.warnings]


# Which pages, when


def test_pages_come_in_the_order_they_are_done(reader_with, opened):
    engines = FakeEngines({3: TEXT}, num_slots=2)
    pages = reader_with(engines).pages(opened(pdf_of(3)))

    order = [next(pages).page]
    for number in (1, 2):
        engines.finish(number)
        order.append(next(pages).page)

    assert order == [3, 1, 2]
    assert list(pages) == []


def test_pages_are_submitted_in_the_order_of_the_document(read):
    engines = FakeEngines(dict.fromkeys(range(1, 6), TEXT), num_slots=2)

    read(pdf_of(5), engines)

    assert engines.numbers == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("num_slots", [1, 4])
def test_no_more_pages_are_on_their_way_than_the_engine_can_use_and_one(
    reader_with, opened, num_slots
):
    engines = FakeEngines(num_slots=num_slots)
    looks = itertools.count(1)
    # A look before each page that is sent, and a few while none is.
    reading = opened(pdf_of(30), is_cancelled=lambda: next(looks) > num_slots + 4)

    list(reader_with(engines).pages(reading))

    assert engines.numbers == list(range(1, num_slots + 2))


def test_a_page_that_is_done_makes_room_for_another(reader_with, opened):
    engines = FakeEngines({2: TEXT, 3: TEXT}, num_slots=1)
    pages = reader_with(engines).pages(opened(pdf_of(30)))

    done = [next(pages).page, next(pages).page]

    assert done == [2, 3]
    assert engines.numbers == [1, 2, 3]
    pages.close()


def test_only_the_pages_that_were_asked_for_are_read(read):
    engines = FakeEngines({2: TEXT, 4: TEXT})

    pages = read(pdf_of(5), engines, {"pages": "4,2"})

    assert engines.numbers == [2, 4]
    assert pages.keys() == {2, 4}


def test_a_page_that_cannot_be_decoded_fails_alone(read):
    pages = read(pdf_with_one_bad_page(), FakeEngines({1: TEXT, 3: TEXT}))

    assert {n: code_of(page) for n, page in pages.items()} == {
        1: None,
        2: "unreadable_document",
        3: None,
    }


# What is asked of the engine


@pytest.mark.parametrize("prompt_type", ["ocr", "ocr_layout"])
def test_the_engine_is_asked_with_the_prompt_of_the_prompt_type(read, prompt_type):
    engines = FakeEngines({1: TEXT})

    read(as_png(text_page()), engines, {"prompt_type": prompt_type})

    [sequence] = engines.sequences
    assert sequence.prompt == load_prompts(PROFILES["mini"])[prompt_type]
    assert sequence.request_id == "id"


def test_a_request_that_comes_again_is_not_taken_for_its_first_time(
    reader_with, opened
):
    engines = FakeEngines({1: TEXT, 2: TEXT})
    reader = reader_with(engines)

    for _ in range(2):
        list(reader.pages(opened(pdf_of(2), reader)))

    assert engines.numbers == [1, 2, 1, 2]
    assert len({sequence.id for sequence in engines.sequences}) == 4


@pytest.mark.parametrize(
    ("requested", "setting", "expected"),
    [
        (None, None, 1024),
        (100, None, 100),
        (None, 200, 200),
        (100, 200, 100),
        (300, 200, 200),
        (5000, None, 1024),
        (5000, 4000, 1024),
    ],
)
def test_the_smallest_bound_on_output_tokens_counts(read, requested, setting, expected):
    engines = FakeEngines({1: TEXT})

    read(
        as_png(text_page()),
        engines,
        {"max_output_tokens": requested},
        max_output_tokens=setting,
    )

    assert engines.sequences[0].max_output_tokens == expected


def test_max_side_makes_the_page_smaller_for_the_model_and_not_for_the_caller(read):
    engines = FakeEngines({1: TEXT})

    pages = read(as_png(text_page(size=(640, 800))), engines, max_side=512)

    seen = engines.sequences[0].page
    assert max(seen.pixel_width, seen.pixel_height) == 512
    assert (pages[1].width, pages[1].height) == (640, 800)


# What is made of its answers


@pytest.mark.parametrize(
    ("content", "width", "height"),
    [(as_png(text_page(size=(640, 800))), 640, 800), (pdf_of(1), 511, 723)],
    ids=["image", "PDF at the most pixels"],
)
def test_boxes_are_in_pixels_of_the_page_as_it_is_reported(
    read, content, width, height
):
    page = read(content, FakeEngines({1: TEXT}))[1]

    assert (page.width, page.height) == (width, height)
    assert [block.bbox for block in page.content.blocks] == [(0, 0, width, height)]


def test_a_page_says_what_the_model_said_and_how_it_went(read):
    generation = Generation(
        "id",
        FinishReason.STOP,
        TEXT,
        num_output_tokens=12,
        num_attempts=2,
        page_seconds=1.5,
        queue_seconds=0.5,
    )

    page = read(as_png(text_page()), FakeEngines({1: generation}))[1]

    assert page.status is Status.SUCCESS
    assert page.content.markdown == "Hello"
    assert page.raw == TEXT
    assert (page.finish_reason, page.output_tokens, page.attempts) == ("stop", 12, 2)
    assert (page.page_seconds, page.queue_seconds) == (1.5, 0.5)


def test_figures_are_cut_out_of_the_page_as_webp_when_they_are_asked_for(read):
    page = read(
        page_with_a_red_square(), FakeEngines({1: FIGURE}), {"include_images": True}
    )[1]

    [(name, encoded)] = page.images.items()
    picture = Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)))
    assert picture.format == "WEBP"
    assert picture.size == (200, 160)
    for place in ((0, 0), (199, 0), (0, 159), (199, 159), (100, 80)):
        colour = picture.getpixel(place)
        assert colour == pytest.approx(RED, abs=12)
    assert name in page.content.html
    assert name in page.content.markdown


def test_figures_nobody_asked_for_are_not_cut_out(read):
    page = read(page_with_a_red_square(), FakeEngines({1: FIGURE}))[1]

    assert page.images == {}
    assert [block.label for block in page.content.blocks] == ["Image"]


def test_a_page_whose_figures_cannot_be_cut_out_comes_without_them(reader_with, opened):
    clock = Clock()
    engines = FakeEngines({1: FIGURE + TEXT}, submitted=lambda: clock.advance(9))
    reader = reader_with(engines, clock)
    reading = opened(
        page_with_a_red_square(),
        reader,
        received_at=0,
        deadline_seconds=5,
        include_images=True,
    )

    [page] = reader.pages(reading)

    assert page.status is Status.SUCCESS
    assert "Hello" in page.content.markdown
    assert page.images == {}
    assert "src=" not in page.content.html
    assert warnings_of(page) == ["images_missing"]


def test_a_generation_that_was_cut_short_carries_a_warning(read):
    generation = Generation("id", FinishReason.LENGTH, TEXT, num_output_tokens=7)

    page = read(as_png(text_page()), FakeEngines({1: generation}))[1]

    assert page.status is Status.SUCCESS
    assert page.finish_reason == "length"
    [warning] = page.content.warnings
    assert warning.code == "truncated"
    assert "after 7 tokens; raise max_output_tokens" in warning.detail


def test_a_generation_that_repeats_itself_carries_a_warning_and_all_its_text(read):
    generation = Generation("id", FinishReason.REPETITION, TEXT, has_repetition=True)

    page = read(as_png(text_page()), FakeEngines({1: generation}))[1]

    assert page.status is Status.SUCCESS
    assert page.raw == TEXT
    assert warnings_of(page) == ["repetition"]


def test_a_generation_that_ended_by_itself_carries_none(read):
    page = read(as_png(text_page()), FakeEngines({1: TEXT}))[1]

    assert warnings_of(page) == []


def test_an_error_of_the_engine_is_the_error_of_its_page(read):
    error = PageError("out_of_memory", "a page of 3072 x 2048 pixels does not fit")
    failed = Generation("id", FinishReason.ERROR, num_attempts=2, error=error)

    pages = read(pdf_of(3), FakeEngines({1: TEXT, 2: failed, 3: TEXT}))

    assert pages[2].status is Status.FAILURE
    assert pages[2].error == error
    assert (pages[2].finish_reason, pages[2].attempts) == (None, 2)
    assert [pages[n].status for n in (1, 3)] == [Status.SUCCESS] * 2


@pytest.mark.parametrize(
    "generation",
    [
        Generation(
            "id",
            FinishReason.ERROR,
            error=PageError("engine_unavailable", "no engine process is left"),
        ),
        Generation("id", FinishReason.ABORTED),
    ],
    ids=["no engine", "aborted"],
)
def test_without_an_engine_the_other_pages_are_not_tried(read, generation):
    engines = FakeEngines({2: generation})

    pages = read(pdf_of(5), engines)

    assert list(pages) == [2, 1, 3, 4, 5]
    assert {code_of(page) for page in pages.values()} == {"engine_unavailable"}
    assert engines.numbers == [1, 2]
    assert engines.cancelled == [1]


# Deadlines, and clients that leave


@pytest.mark.parametrize(
    ("requested", "setting", "deadline"),
    [(None, 55.0, 155.0), (5.0, 55.0, 105.0), (5.0, None, 105.0), (None, None, None)],
)
def test_a_deadline_is_the_requests_or_else_the_settings(
    reader_with, opened, requested, setting, deadline
):
    clock = Clock()
    clock.now = 100.0
    reader = reader_with(FakeEngines(), clock, deadline_seconds=setting)

    reading = opened(pdf_of(1), reader, received_at=100.0, deadline_seconds=requested)

    assert reading.deadline == deadline


def test_when_the_deadline_comes_finished_pages_are_kept_and_the_rest_is_late(
    reader_with, opened
):
    clock = Clock()
    engines = FakeEngines({3: TEXT}, num_slots=2)
    reader = reader_with(engines, clock)
    pages = reader.pages(
        opened(pdf_of(5), reader, received_at=0.0, deadline_seconds=5.0)
    )

    first = next(pages)
    clock.now = 5.0
    rest = list(pages)

    assert (first.page, first.status) == (3, Status.SUCCESS)
    assert [page.page for page in rest] == [1, 2, 4, 5]
    assert {code_of(page) for page in rest} == {"deadline_exceeded"}


def test_a_page_that_was_done_in_time_is_kept_though_nobody_looked(reader_with, opened):
    clock = Clock()
    engines = FakeEngines({3: TEXT}, num_slots=2)
    reader = reader_with(engines, clock)
    pages = reader.pages(
        opened(pdf_of(3), reader, received_at=0.0, deadline_seconds=5.0)
    )

    next(pages)
    engines.finish(2)
    clock.now = 5.0
    rest = list(pages)

    assert [(page.page, code_of(page)) for page in rest] == [
        (2, None),
        (1, "deadline_exceeded"),
    ]
    assert engines.cancelled == [1]


def test_when_the_deadline_comes_the_engine_gives_up_what_it_held(reader_with, opened):
    clock = Clock()
    engines = FakeEngines({3: TEXT}, num_slots=2)
    reader = reader_with(engines, clock)
    pages = reader.pages(
        opened(pdf_of(5), reader, received_at=0.0, deadline_seconds=5.0)
    )

    next(pages)
    clock.now = 5.0
    list(pages)

    assert engines.numbers == [1, 2, 3]
    assert sorted(engines.cancelled) == [1, 2]


def test_a_deadline_is_noticed_while_no_page_is_done(reader_with, opened):
    engines = FakeEngines()
    reader = reader_with(engines, PassingClock())
    reading = opened(pdf_of(1), reader, received_at=0.0, deadline_seconds=120.0)

    [page] = reader.pages(reading)

    assert code_of(page) == "deadline_exceeded"
    assert engines.cancelled == [1]


def test_a_reading_that_was_cancelled_stops_and_cancels(reader_with, opened):
    engines = FakeEngines({3: TEXT}, num_slots=2)
    is_gone: list[bool] = []
    reading = opened(pdf_of(30), is_cancelled=lambda: bool(is_gone))
    pages = reader_with(engines).pages(reading)

    next(pages)
    is_gone.append(True)
    rest = list(pages)

    assert not any(page.status is Status.SUCCESS for page in rest)
    assert engines.numbers == [1, 2, 3]
    assert sorted(engines.cancelled) == [1, 2]


def test_a_reading_nobody_goes_on_with_is_cancelled(reader_with, opened):
    engines = FakeEngines({3: TEXT}, num_slots=2)
    pages = reader_with(engines).pages(opened(pdf_of(30)))
    next(pages)

    pages.close()

    assert sorted(engines.cancelled) == [1, 2]


def test_a_reading_that_was_finished_has_nothing_to_cancel(read):
    engines = FakeEngines(dict.fromkeys((1, 2, 3), TEXT))

    read(pdf_of(3), engines)

    assert engines.cancelled == []


# Decoders and writers that fail


def test_a_decoder_that_crashes_is_the_documents_fault(
    reader_with, opened, without_memory
):
    reader = reader_with(FakeEngines(), decoders=without_memory)

    pages = list(reader.pages(opened(pdf_of(2))))

    assert [page.error for page in pages] == [
        PageError("unreadable_document", "the decoder crashed on it")
    ] * 2


def test_a_document_on_which_a_decoder_crashes_is_refused_when_it_is_opened(
    reader_with, opened, without_memory
):
    reader = reader_with(FakeEngines(), decoders=without_memory)

    with pytest.raises(UnreadableDocumentError, match=r"^the decoder crashed on it$"):
        opened(pdf_of(2), reader)


def test_a_decoder_that_takes_too_long_is_the_documents_fault(reader_with, opened):
    reader = reader_with(FakeEngines(), decode_seconds=MOMENT)

    [page] = reader.pages(opened(SLOW))

    assert page.error == PageError(
        "unreadable_document", "decoding took longer than 0.01 s and was given up"
    )


def test_a_decoder_that_the_deadline_cuts_short_is_nobodys_fault(reader_with, opened):
    clock = Clock()
    reader = reader_with(FakeEngines(), clock)
    reading = opened(SLOW, reader, received_at=0.0, deadline_seconds=10.0)
    clock.now = 10.0 - MOMENT

    [page] = reader.pages(reading)

    assert code_of(page) == "deadline_exceeded"


def test_a_page_for_which_no_decoder_becomes_free_is_told_so(reader_with, opened, busy):
    reader = reader_with(FakeEngines(), decoders=busy, decode_seconds=MOMENT)

    pages = list(reader.pages(opened(pdf_of(2))))

    assert [code_of(page) for page in pages] == ["overloaded"] * 2


def test_a_page_that_waits_for_a_decoder_until_its_deadline_is_late(
    reader_with, opened, busy
):
    clock = Clock()
    opener = reader_with(FakeEngines(), clock)
    reading = opened(pdf_of(1), opener, received_at=0.0, deadline_seconds=10.0)
    clock.now = 10.0 - MOMENT

    [page] = reader_with(FakeEngines(), clock, busy).pages(reading)

    assert code_of(page) == "deadline_exceeded"


def test_a_writer_that_crashes_costs_its_page_and_is_not_the_documents_fault(
    reader_with, opened, without_memory
):
    reader = reader_with(FakeEngines({1: TEXT}), writers=without_memory)

    [page] = reader.pages(opened(pdf_of(1)))

    assert page.error == PageError(
        "internal", "the model's answer could not be converted"
    )


def test_a_page_for_which_no_writer_becomes_free_is_told_so(reader_with, opened, busy):
    reader = reader_with(FakeEngines({1: TEXT}), writers=busy, decode_seconds=1)

    [page] = reader.pages(opened(pdf_of(1)))

    assert code_of(page) == "overloaded"


# The document's bytes


def num_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_the_bytes_of_a_document_are_there_until_it_is_closed(opened):
    reading = opened(pdf_of(1))
    path = Path(reading.document.path)
    assert path.read_bytes() == pdf_of(1)

    reading.close()

    with pytest.raises(FileNotFoundError):
        path.open("rb")


@pytest.mark.parametrize(
    ("content", "options", "error"),
    [
        (truncated_pdf(), {}, UnreadableDocumentError),
        (pdf_of(1), {"pages": "2"}, InvalidOptionError),
    ],
    ids=["unreadable", "no such page"],
)
def test_a_document_that_is_refused_leaves_no_bytes(opened, content, options, error):
    before = num_open_files()

    with pytest.raises(error):
        opened(content, **options)

    assert num_open_files() == before


# Documents in S3


@pytest.fixture(scope="module")
def _server():
    with s3_on_loopback("docs") as server:
        yield server


@pytest.fixture
def s3(_server):
    _server.reset()
    yield _server
    _server.reset()


@pytest.fixture
def opened_in_s3(s3, reader_with):
    """Opens what a request names, with a deadline far away or as near as it is."""
    readings: list[Reading] = []

    def open_it(uri: str, is_cancelled: Callable[[], bool] = lambda: False, **options):
        reader = reader_with(FakeEngines(), document_buckets="docs")
        request = OCRRequest(address_from(uri), None, Options(**options), None)
        readings.append(reader.open("id", request, time.monotonic(), is_cancelled))
        return readings[-1]

    yield open_it
    for reading in readings:
        reading.close()


def test_a_document_in_s3_is_read_as_if_it_had_been_sent(s3, opened_in_s3):
    reading = opened_in_s3(s3.put("a.pdf", pdf_of(3)), pages="2-")

    assert Path(reading.document.path).read_bytes() == pdf_of(3)
    assert reading.info.media_type == "application/pdf"
    assert reading.page_numbers == [2, 3]


def test_what_lies_in_s3_and_is_no_document_leaves_no_bytes(s3, opened_in_s3):
    uri = s3.put("a.pdf", truncated_pdf())
    for _ in range(2):  # the second has its connections already
        before = num_open_files()
        with pytest.raises(UnreadableDocumentError):
            opened_in_s3(uri)

    # Each reader has connections of its own.
    assert num_open_files() <= before + 2


@pytest.mark.parametrize("why", ["deadline", "client"])
def test_nobody_waits_for_s3_longer_than_for_anything_else(s3, opened_in_s3, why):
    uri = s3.put("a.pdf", pdf_of(1))
    gate, is_waiting = Event(), Event()

    def door(asked: Asked) -> None:
        if asked.method == "GET":
            is_waiting.set()
            gate.wait(30)

    s3.door = door

    try:
        if why == "deadline":
            with pytest.raises(DeadlineExceededError):
                opened_in_s3(uri, deadline_seconds=2.0)
        else:
            with pytest.raises(EngineError, match="the client is gone"):
                opened_in_s3(uri, is_waiting.is_set)
    finally:
        gate.set()
