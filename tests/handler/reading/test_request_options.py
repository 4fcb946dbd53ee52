"""Effects of a request's options on engine requests and on the results of pages."""

from __future__ import annotations

import base64
import re

import pytest

from handler.reading.write import MAX_INLINE_BYTES, max_inline_bytes
from handler.schema import Options
from tests.documents import as_png, text_page
from tests.handler.reading.engines import (
    FIGURE,
    TEXT,
    FakeEngines,
    page_with_a_red_square,
    warnings_of,
)

TABLE = """<div data-bbox="[0, 0, 1024, 1024]" data-label="Table"><table>
<tr><th>Port</th></tr><tr><td>Lerwick</td></tr></table></div>"""


def test_engine_gets_the_options_of_the_request(read):
    engines = FakeEngines({1: TEXT})

    read(
        as_png(text_page()),
        engines,
        {"prompt": "What is the total?", "temperature": 0.7, "max_attempts": 5},
    )

    [request] = engines.requests
    assert request.prompt == "What is the total?"
    assert (request.temperature, request.max_attempts) == (0.7, 5)


def test_options_do_not_leak_into_the_next_request(read):
    engines = FakeEngines({1: TEXT})

    read(as_png(text_page()), engines, {"prompt": "x", "temperature": 1.0})
    read(as_png(text_page()), engines)

    first, second = engines.requests
    assert first.prompt == "x"
    assert second.prompt != "x"
    assert (second.temperature, second.max_attempts) == (0.0, None)


@pytest.mark.parametrize(
    ("answer", "markdown"),
    [
        ("Total: 3 < 4\nPaid.\n\nBy: A*B", "Total: 3 < 4  \nPaid.\n\nBy: A\\*B"),
        ("Jo <jo@x.org>\nList<Path>", "Jo \\<jo@x.org>  \nList\\<Path>"),
        ("<b>Total</b>: 3\nPaid.", "**Total**: 3 Paid."),
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        (TEXT, "Hello"),
    ],
)
def test_output_for_a_custom_prompt_is_text_or_html(read, answer, markdown):
    page = read(as_png(text_page()), FakeEngines({1: answer}), {"prompt": "x"})[1]

    assert page.content.markdown == markdown
    assert page.raw == answer
    assert warnings_of(page) == []


def test_tables_are_html_on_request(read):
    engines = FakeEngines({1: TABLE})

    page = read(as_png(text_page()), engines, {"tables": "html"})[1]

    assert page.content.markdown.startswith("<table>")
    assert "<td>Lerwick</td>" in page.content.markdown


@pytest.mark.parametrize("name", ["include_images", "inline_images"])
def test_pictures_are_links_or_data_urls(read, name):
    page = read(page_with_a_red_square(), FakeEngines({1: FIGURE}), {name: True})[1]

    [picture] = page.images.values()
    targets = re.findall(r"!\[[^]]*\]\(([^)]*)\)", page.content.markdown)
    assert targets == (
        list(page.images)
        if name == "include_images"
        else [f"data:image/webp;base64,{picture}"]
    )
    assert base64.b64decode(picture).startswith(b"RIFF")


def test_pictures_above_the_limit_have_a_warning(make_reader, open_document):
    reader = make_reader(FakeEngines({1: FIGURE}))
    document = open_document(page_with_a_red_square(), reader, inline_images=True)
    document.inlined_bytes = MAX_INLINE_BYTES - 10

    [page] = reader.read_pages(document)

    assert warnings_of(page) == ["images_not_inlined"]
    assert "(page-1-figure-1.webp)" in page.content.markdown
    assert page.images


def test_data_urls_leave_room_in_a_small_answer(make_reader, open_document):
    reader = make_reader(FakeEngines({1: FIGURE}), max_reply_bytes=500)

    [page] = reader.read_pages(
        open_document(page_with_a_red_square(), reader, inline_images=True)
    )

    assert warnings_of(page) == ["images_not_inlined"]


def test_data_urls_fit_four_times_into_a_real_time_answer():
    limit = max_inline_bytes(25 * 1024 * 1024)

    assert 4 * limit < 25 * 1024 * 1024
    assert max_inline_bytes(100 * 1024 * 1024) == MAX_INLINE_BYTES


def test_pictures_need_an_option():
    assert not Options().has_images
    assert Options(inline_images=True).has_images
