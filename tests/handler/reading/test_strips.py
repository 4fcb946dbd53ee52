"""Long pages, which are read in strips and returned as one page."""

from __future__ import annotations

import itertools
from concurrent.futures import Future

import pytest
from PIL import Image, ImageDraw, ImageFont

from handler.engine import EngineOutput, FinishReason
from handler.schema import PageError, Status
from tests.documents import as_png, pdf
from tests.handler.reading.engines import FakeEngines, code_of, warnings_of

LINES = [f"Line {number}: the ferry left" for number in range(120)]


def long_page(*pages: list[str]) -> bytes:
    return pdf([LINES, *pages], size=(640, 100 + 44 * len(LINES)))


class LineEngines(FakeEngines):
    """Fake engines that answer each strip with the lines of its text layer.

    `outcomes` are the outputs of some strips in place of that, by index; None
    leaves a strip without an answer.
    """

    def __init__(self, outcomes=None, max_pages_in_flight=2):
        super().__init__(max_pages_in_flight=max_pages_in_flight)
        self.outcomes = outcomes or {}
        self.pending = []
        self.most_pending = 0
        self.cancelled_ids = []

    def submit(self, request):
        index = len(self.requests)
        self.requests.append(request)
        future: Future[EngineOutput] = Future()
        outcome = self.outcomes.get(index, self.read(request))
        if outcome is not None:
            future.set_result(outcome)
        return future

    def cancel(self, engine_request_id):
        self.cancelled_ids.append(engine_request_id)

    @staticmethod
    def read(request):
        lines = request.page.text_layer.splitlines()
        text = "".join(f"<p>{line}</p>" for line in lines)
        return EngineOutput(
            request.id,
            FinishReason.STOP,
            f'<div data-bbox="[0, 8, 1024, 1016]" data-label="Form">{text}</div>',
            num_output_tokens=10,
            num_forwards=4,
            page_seconds=1.0,
            queue_seconds=0.5,
        )


def failed(code="out_of_memory"):
    return EngineOutput("", FinishReason.ERROR, error=PageError(code, "no memory"))


def test_a_page_in_strips_is_answered_as_one_page(read):
    engines = LineEngines()

    pages = read(long_page(), engines)

    [page] = pages.values()
    assert page.status is Status.SUCCESS
    assert page.content.text.split("\n\n") == LINES
    assert warnings_of(page) == ["strips"]
    num = len(engines.requests)
    assert num > 2
    assert (page.output_tokens, page.forwards) == (10 * num, 4 * num)
    assert (page.attempts, page.finish_reason) == (1, "stop")
    assert (page.page_seconds, page.queue_seconds) == (num, 0.5)


def test_boxes_of_strips_follow_each_other_down_the_page(read):
    [page] = read(long_page(), LineEngines()).values()

    boxes = [block.bbox for block in page.content.blocks]
    tops = [box[1] for box in boxes]
    assert tops == sorted(tops)
    assert 0.9 * page.height < boxes[-1][3] <= page.height
    assert all(first[3] <= second[1] for first, second in itertools.pairwise(boxes))


def test_other_pages_of_a_document_with_strips_are_read(read):
    pages = read(long_page(["short"]), LineEngines())

    assert {number: page.status for number, page in pages.items()} == {
        1: Status.SUCCESS,
        2: Status.SUCCESS,
    }
    assert pages[2].content.text == "short"


def test_the_text_of_other_strips_is_kept_when_one_fails(read):
    engines = LineEngines({1: failed()})

    [page] = read(long_page(), engines).values()

    assert page.status is Status.PARTIAL_SUCCESS
    assert code_of(page) == "out_of_memory"
    assert "strips 2 of " in page.error.detail
    missing = engines.requests[1].page.text_layer.splitlines()
    assert page.content.text.split("\n\n") == [x for x in LINES if x not in missing]


def test_a_strip_without_ink_is_not_sent_to_the_engine(read):
    image = Image.new("RGB", (400, 8000), "white")
    draw = ImageDraw.Draw(image)
    for row in range(60):
        draw.text((10, 20 * row), "the ferry left", "black", ImageFont.load_default(14))
    image.paste("black", (200, 7000, 202, 7002))
    engines = LineEngines()

    [page] = read(as_png(image), engines).values()

    assert page.status is Status.SUCCESS
    assert warnings_of(page) == ["strips"]
    assert "in 3 strips" in page.content.warnings[0].detail
    assert len(engines.requests) == 2


def test_a_page_whose_strips_all_fail_is_a_failure(read):
    engines = LineEngines(dict.fromkeys(range(20), failed()))

    [page] = read(long_page(), engines).values()

    assert page.status is Status.FAILURE
    assert code_of(page) == "out_of_memory"


def test_warning_names_the_strip_with_truncated_output(read):
    cut = EngineOutput("", FinishReason.LENGTH, "<p>a</p>", num_output_tokens=7)

    [page] = read(long_page(), LineEngines({0: cut})).values()

    assert page.finish_reason == "length"
    [warning] = [w for w in page.content.warnings if w.code == "truncated"]
    assert "strips 1 of" in warning.detail


def test_strips_read_before_the_client_left_are_kept(make_reader, open_document):
    engines = LineEngines({2: None, 3: None, 4: None}, max_pages_in_flight=1)
    document = open_document(
        long_page(), is_cancelled=lambda: len(engines.requests) >= 4
    )

    [page] = make_reader(engines).read_pages(document)

    assert page.status is Status.PARTIAL_SUCCESS
    assert page.content.text.startswith(LINES[0])
    assert engines.cancelled_ids == [engines.requests[i].id for i in (2, 3)]


@pytest.mark.parametrize("max_pages_in_flight", [1, 3])
def test_at_most_one_strip_more_than_slots_is_in_flight(
    make_reader, open_document, max_pages_in_flight
):
    engines = LineEngines(dict.fromkeys(range(20)), max_pages_in_flight)
    checks = iter(range(100))
    document = open_document(
        long_page(), is_cancelled=lambda: next(checks) > max_pages_in_flight + 4
    )

    list(make_reader(engines).read_pages(document))

    assert len(engines.requests) == max_pages_in_flight + 1


def test_each_strip_has_the_bound_on_output_tokens(read):
    engines = LineEngines()

    read(long_page(), engines, {"max_output_tokens": 77})

    assert {request.max_output_tokens for request in engines.requests} == {77}
