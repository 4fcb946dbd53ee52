"""Tests of the rendering of PDF pages and of their text layer."""

from __future__ import annotations

import contextlib
import mmap
import warnings

import pytest
from PIL import Image, ImageOps
from reportlab.lib.pagesizes import A4

from handler.errors import (
    PasswordRequiredError,
    UnreadableDocumentError,
    UnsupportedMediaTypeError,
)
from handler.preprocess import DecodeOptions, Limits
from handler.preprocess.pdf.render import MAX_TEXT_CHARACTERS, read_text_layer
from tests.documents import (
    LINES,
    as_png,
    blank_pdf_page,
    empty_pdf,
    pdf,
    pdf_with_form_and_annotation,
    pdf_with_one_bad_page,
    rotated_pdf,
    text_page,
    truncated_pdf,
)
from tests.handler.preprocess.reading import (
    CHANDRA,
    colour_at,
    darkest_level,
    decode_content,
    inspect_content,
    to_image,
)

# The text of the rotated documents below is rotated with the page, so detection of the
# orientation would undo the rotation.
WITHOUT_ROTATION = DecodeOptions(detect_rotation=False)


def render_with_chandra(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # chandra's settings use an older pydantic API
        from chandra.input import load_pdf_images
    return load_pdf_images(str(path), [])


def ink_bounds(image):
    """Return the bounding box of all pixels that are not white."""
    box = ImageOps.invert(image.convert("L")).getbbox()
    assert box is not None
    return box


def test_a4_page_is_rendered_as_by_chandra(tmp_path):
    path = tmp_path / "a4.pdf"
    path.write_bytes(pdf())
    expected = render_with_chandra(path)[0]

    page = decode_content(pdf(), sizing=CHANDRA)

    assert (page.width, page.height) == expected.size == (1588, 2246)
    assert (page.pixel_width, page.pixel_height) == (1600, 2240)
    assert (
        page.pixels == expected.resize((1600, 2240), Image.Resampling.LANCZOS).tobytes()
    )


def test_each_page_is_rendered_separately():
    content = pdf([LINES, [], LINES[:1]])

    assert inspect_content(content).num_pages == 3
    assert darkest_level(decode_content(content, 1), 0, 1) < 80
    assert darkest_level(decode_content(content, 2), 0, 1) == 255
    assert darkest_level(decode_content(content, 3), 0, 0.2) < 80
    assert darkest_level(decode_content(content, 3), 0.2, 1) == 255


def test_size_of_a_rotated_page_is_rotated():
    page = decode_content(rotated_pdf(90), sizing=CHANDRA, options=WITHOUT_ROTATION)

    assert (page.width, page.height) == (2246, 1588)
    assert (page.pixel_width, page.pixel_height) == (2240, 1600)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_page_rotation_is_applied(rotation):
    expected = to_image(decode_content(pdf())).rotate(-rotation, expand=True)

    rotated = to_image(decode_content(rotated_pdf(rotation), options=WITHOUT_ROTATION))

    assert rotated.size == expected.size
    for side, expected_side in zip(
        ink_bounds(rotated), ink_bounds(expected), strict=True
    ):
        assert abs(side - expected_side) <= 3


def test_form_fields_and_annotations_are_rendered():
    page = decode_content(pdf_with_form_and_annotation())

    assert darkest_level(page, 0.1, 0.4) < 80
    assert darkest_level(page, 0.45, 0.55) == 255
    assert darkest_level(page, 0.6, 0.9) < 80


def test_background_of_a_pdf_page_is_white():
    assert colour_at(decode_content(pdf()), 0.99, 0.99) == (255, 255, 255)


def test_damaged_page_fails_alone():
    content = pdf_with_one_bad_page()

    assert inspect_content(content).num_pages == 3
    with pytest.raises(UnreadableDocumentError, match="page 2 cannot be read"):
        decode_content(content, 2)
    assert darkest_level(decode_content(content, 1), 0, 1) < 80
    assert darkest_level(decode_content(content, 3), 0, 1) < 80


def test_missing_page_is_unreadable():
    with pytest.raises(UnreadableDocumentError, match="no page 2"):
        decode_content(pdf(), 2)


def test_pdf_with_password_raises_password_required():
    with pytest.raises(PasswordRequiredError, match="needs a password"):
        inspect_content(pdf(password="secret"))


def test_pdf_with_owner_password_only_is_read():
    content = pdf(owner_password="secret")

    assert b"/Encrypt" in content
    assert inspect_content(content).num_pages == 1
    assert darkest_level(decode_content(content), 0, 1) < 80


@pytest.mark.parametrize(
    "earlier_content", [pdf(password="secret"), truncated_pdf(), pdf()]
)
def test_pdf_without_pages_is_named_after_other_errors(earlier_content):
    """pdfium keeps its last error, which must not be reported for this document."""
    with contextlib.suppress(UnreadableDocumentError):
        inspect_content(earlier_content)

    with pytest.raises(UnreadableDocumentError, match="has no pages"):
        inspect_content(empty_pdf())


@pytest.mark.parametrize("content", [truncated_pdf(), b"%PDF-1.7\n" + bytes(500)])
def test_damaged_pdf_is_unreadable(content):
    with pytest.raises(UnreadableDocumentError, match="it is damaged, or ends early"):
        inspect_content(content)


def test_pdf_after_other_bytes_is_read():
    assert inspect_content(b"\n" * 500 + pdf()).num_pages == 1


def test_bitmap_of_a_huge_page_is_bounded():
    page = decode_content(blank_pdf_page(14_400, 14_400), sizing=CHANDRA)

    assert page.width * page.height < 1.01 * CHANDRA.max_pixels


def test_extremely_thin_page_is_rejected_before_rendering():
    with pytest.raises(UnreadableDocumentError, match="times as long as it is wide"):
        decode_content(blank_pdf_page(0.001, 14_400), sizing=CHANDRA)


def test_pixel_limit_does_not_apply_to_pdf_pages():
    page = decode_content(pdf(size=A4), limits=Limits(max_pixels=1))

    assert page.width > 1


def test_text_layer_has_the_lines_of_the_page():
    content = pdf([LINES, ["Two & <three>"]])

    assert decode_content(content, 1).text_layer.splitlines() == list(LINES)
    assert decode_content(content, 2).text_layer == "Two & <three>"


@pytest.mark.parametrize(
    "content",
    [blank_pdf_page(200, 300), as_png(text_page())],
    ids=["a blank page", "an image"],
)
def test_page_without_text_has_an_empty_text_layer(content):
    assert decode_content(content).text_layer == ""


def test_hyphen_at_a_line_end_is_a_control_character():
    """The drafter's `text_layer` module depends on this character."""
    layer = decode_content(pdf([["a long exam-", "ple of it"]])).text_layer

    assert layer == "a long exam\x02ple of it"


@pytest.mark.parametrize(
    ("content", "number"),
    [(truncated_pdf(), 1), (b"not a PDF", 1), (pdf_with_one_bad_page(), 2), (pdf(), 2)],
)
def test_unreadable_text_layer_is_empty(content, number):
    data = mmap.mmap(-1, len(content))
    data.write(content)

    assert read_text_layer(data, number) == ""


def test_text_layer_is_truncated_at_the_limit():
    line = "word " * 30
    content = pdf([[line] * (MAX_TEXT_CHARACTERS // len(line) + 100)], size=(2e4, 3e4))

    assert len(decode_content(content).text_layer) == MAX_TEXT_CHARACTERS


def test_crop_box_outside_the_page_is_ignored():
    content = pdf().replace(
        b"/MediaBox [", b"/CropBox [5000 5000 5100 5100] /MediaBox ["
    )

    page = decode_content(content)

    assert (page.width, page.height) == (
        decode_content(pdf()).width,
        decode_content(pdf()).height,
    )
    assert darkest_level(page, 0, 1) < 80
    assert page.text_layer.splitlines() == list(LINES)


@pytest.mark.parametrize(
    "content",
    [
        pdf()[pdf().index(b"1 0 obj") :],
        pdf()[pdf().index(b"\n") + 1 :],
        b"%XDF-1.4\n" + pdf()[9:],
        b"junk" * 200 + pdf(),
        pdf().replace(b"startxref\n", b"startxref\n9"),
    ],
    ids=["no header", "no first line", "bad header", "junk", "bad xref"],
)
def test_damaged_pdf_that_viewers_open_is_read(content):
    assert inspect_content(content).num_pages == 1
    assert darkest_level(decode_content(content), 0, 1) < 80


def test_pdf_with_bad_header_is_read_if_declared():
    content = b"garbage\n" + pdf()[9:]

    assert inspect_content(content, "application/pdf").num_pages == 1


@pytest.mark.parametrize("content", [b"<html>1 0 obj</html>", b"PK\3\4" + bytes(60)])
def test_other_bytes_declared_a_pdf_are_rejected(content):
    with pytest.raises(UnsupportedMediaTypeError):
        inspect_content(content, "application/pdf")
