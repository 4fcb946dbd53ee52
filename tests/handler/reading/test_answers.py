"""Requests to the engine, and results made from its outputs."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from handler.engine import EngineOutput, FinishReason
from handler.profiles import PROFILES
from handler.prompts import load_prompts
from handler.schema import PageError, Status
from tests.documents import as_png, text_page
from tests.handler.reading.engines import (
    FIGURE,
    RED,
    TEXT,
    Clock,
    FakeEngines,
    code_of,
    page_with_a_red_square,
    pdf_of,
    warnings_of,
)


@pytest.mark.parametrize("prompt_type", ["ocr", "ocr_layout"])
def test_engine_gets_the_prompt_of_the_prompt_type(read, prompt_type):
    engines = FakeEngines({1: TEXT})

    read(as_png(text_page()), engines, {"prompt_type": prompt_type})

    [request] = engines.requests
    assert request.prompt == load_prompts(PROFILES["mini"])[prompt_type]
    assert request.request_id == "id"


def test_resent_request_has_new_engine_ids(make_reader, open_document):
    engines = FakeEngines({1: TEXT, 2: TEXT})
    reader = make_reader(engines)

    for _ in range(2):
        list(reader.read_pages(open_document(pdf_of(2), reader)))

    assert engines.numbers == [1, 2, 1, 2]
    assert len({request.id for request in engines.requests}) == 4


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
def test_smallest_limit_on_output_tokens_applies(read, requested, setting, expected):
    engines = FakeEngines({1: TEXT})

    read(
        as_png(text_page()),
        engines,
        {"max_output_tokens": requested},
        max_output_tokens=setting,
    )

    assert engines.requests[0].max_output_tokens == expected


def test_max_side_shrinks_only_the_image_for_the_model(read):
    engines = FakeEngines({1: TEXT})

    pages = read(as_png(text_page(size=(640, 800))), engines, max_side=512)

    seen = engines.requests[0].page
    assert max(seen.pixel_width, seen.pixel_height) == 512
    assert (pages[1].width, pages[1].height) == (640, 800)


@pytest.mark.parametrize(
    ("content", "width", "height"),
    [(as_png(text_page(size=(640, 800))), 640, 800), (pdf_of(1), 511, 723)],
    ids=["image", "PDF at the most pixels"],
)
def test_boxes_are_in_pixels_of_the_reported_page_size(read, content, width, height):
    page = read(content, FakeEngines({1: TEXT}))[1]

    assert (page.width, page.height) == (width, height)
    assert [block.bbox for block in page.content.blocks] == [(0, 0, width, height)]


def test_page_result_has_the_output_and_its_statistics(read):
    output = EngineOutput(
        "id",
        FinishReason.STOP,
        TEXT,
        num_output_tokens=12,
        num_attempts=2,
        page_seconds=1.5,
        queue_seconds=0.5,
    )

    page = read(as_png(text_page()), FakeEngines({1: output}))[1]

    assert page.status is Status.SUCCESS
    assert page.content.markdown == "Hello"
    assert page.raw == TEXT
    assert (page.finish_reason, page.output_tokens, page.attempts) == ("stop", 12, 2)
    assert (page.page_seconds, page.queue_seconds) == (1.5, 0.5)


def test_figures_are_returned_as_webp_on_request(read):
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


def test_figures_are_not_cut_out_by_default(read):
    page = read(page_with_a_red_square(), FakeEngines({1: FIGURE}))[1]

    assert page.images == {}
    assert [block.label for block in page.content.blocks] == ["Image"]


def test_page_is_returned_if_its_figures_cannot_be_cut_out(make_reader, open_document):
    clock = Clock()
    engines = FakeEngines({1: FIGURE + TEXT}, submitted=lambda: clock.advance(9))
    reader = make_reader(engines, clock)
    document = open_document(
        page_with_a_red_square(),
        reader,
        received_at=0,
        deadline_seconds=5,
        include_images=True,
    )

    [page] = reader.read_pages(document)

    assert page.status is Status.SUCCESS
    assert "Hello" in page.content.markdown
    assert page.images == {}
    assert "src=" not in page.content.html
    assert warnings_of(page) == ["images_missing"]


def test_truncated_output_has_a_warning(read):
    output = EngineOutput("id", FinishReason.LENGTH, TEXT, num_output_tokens=7)

    page = read(as_png(text_page()), FakeEngines({1: output}))[1]

    assert page.status is Status.SUCCESS
    assert page.finish_reason == "length"
    [warning] = page.content.warnings
    assert warning.code == "truncated"
    assert "after 7 tokens; raise max_output_tokens" in warning.detail


def test_repetitive_output_has_a_warning_and_all_its_text(read):
    output = EngineOutput("id", FinishReason.REPETITION, TEXT, has_repetition=True)

    page = read(as_png(text_page()), FakeEngines({1: output}))[1]

    assert page.status is Status.SUCCESS
    assert page.raw == TEXT
    assert warnings_of(page) == ["repetition"]


def test_complete_output_has_no_warning(read):
    page = read(as_png(text_page()), FakeEngines({1: TEXT}))[1]

    assert warnings_of(page) == []


def test_engine_error_fails_only_its_page(read):
    error = PageError("out_of_memory", "a page of 3072 x 2048 pixels does not fit")
    failed = EngineOutput("id", FinishReason.ERROR, num_attempts=2, error=error)

    pages = read(pdf_of(3), FakeEngines({1: TEXT, 2: failed, 3: TEXT}))

    assert pages[2].status is Status.FAILURE
    assert pages[2].error == error
    assert (pages[2].finish_reason, pages[2].attempts) == (None, 2)
    assert [pages[n].status for n in (1, 3)] == [Status.SUCCESS] * 2


@pytest.mark.parametrize(
    "output",
    [
        EngineOutput(
            "id",
            FinishReason.ERROR,
            error=PageError("engine_unavailable", "no engine process is left"),
        ),
        EngineOutput("id", FinishReason.ABORTED),
    ],
    ids=["no engine", "aborted"],
)
def test_without_an_engine_the_other_pages_are_not_tried(read, output):
    engines = FakeEngines({2: output})

    pages = read(pdf_of(5), engines)

    assert list(pages) == [2, 1, 3, 4, 5]
    assert {code_of(page) for page in pages.values()} == {"engine_unavailable"}
    assert engines.numbers == [1, 2]
    assert engines.cancelled == [1]
