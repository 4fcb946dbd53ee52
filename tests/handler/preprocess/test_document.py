"""Tests of the inspection of documents, of errors, and of cropped images."""

from __future__ import annotations

import gc
import io
from pathlib import Path

import pytest
from PIL import Image

from handler.errors import (
    DocumentTooLargeError,
    UnreadableDocumentError,
    UnsupportedMediaTypeError,
)
from handler.preprocess import Limits, crop_images, decode_page, inspect_document
from handler.schema import DocumentInfo
from tests.documents import (
    as_gif,
    as_jpeg,
    as_png,
    as_tiff,
    as_webp,
    oriented_jpeg,
    pdf,
    quadrants,
    spooled,
    text_page,
)
from tests.handler.preprocess.reading import (
    CHANDRA,
    MINI,
    decode_content,
    inspect_content,
)

PAGE = text_page(size=(64, 80))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (as_png(PAGE), DocumentInfo("image/png", 1)),
        (as_jpeg(PAGE), DocumentInfo("image/jpeg", 1)),
        (as_gif(PAGE), DocumentInfo("image/gif", 1)),
        (as_webp(PAGE), DocumentInfo("image/webp", 1)),
        (as_tiff(PAGE, PAGE, PAGE), DocumentInfo("image/tiff", 3)),
        (pdf([[], []]), DocumentInfo("application/pdf", 2)),
    ],
)
def test_inspection_finds_type_and_number_of_pages(content, expected):
    assert inspect_content(content) == expected


def test_declared_type_must_match_the_content():
    assert inspect_content(as_jpeg(PAGE), "image/jpg").media_type == "image/jpeg"
    with pytest.raises(UnsupportedMediaTypeError, match="declared as image/png"):
        inspect_content(as_jpeg(PAGE), "image/png")


@pytest.mark.parametrize("declared", [None, "image/png", "application/pdf"])
def test_empty_document_is_unreadable(declared):
    with pytest.raises(UnreadableDocumentError, match="empty"):
        inspect_content(b"", declared)


def test_error_of_too_large_image_states_the_ratio():
    limits = Limits(max_pixels=1000)

    with pytest.raises(
        DocumentTooLargeError, match=r"64 x 80 pixels, 5.12 times .*1,000"
    ):
        inspect_content(as_png(PAGE), limits=limits)

    assert (
        inspect_content(as_png(PAGE), limits=Limits(max_pixels=64 * 80)).num_pages == 1
    )


def test_inspection_accepts_more_pages_than_the_limit():
    assert inspect_content(pdf([[], [], []]), limits=Limits(max_pages=2)).num_pages == 3


def test_only_the_decoder_of_the_detected_type_is_used():
    with pytest.raises(UnreadableDocumentError, match="the document cannot be read"):
        inspect_content(b"BM" + as_png(PAGE))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (as_png(PAGE)[:30], "the image cannot be read: its header is damaged"),
        (as_png(PAGE)[:45], "the image cannot be read: "),
        (as_webp(PAGE)[:-200], "the image cannot be read: "),
        (as_tiff(PAGE)[:100], "page 1 cannot be read: "),
    ],
)
def test_error_names_the_cause_without_internal_names(content, words):
    with pytest.raises(UnreadableDocumentError) as caught:
        decode_content(content)

    assert caught.value.detail.startswith(words)
    assert caught.value.__cause__ is not None
    assert not any(name in caught.value.detail for name in ("/proc", "mmap", "<"))


def test_closed_descriptor_raises_oserror():
    with spooled(as_png(PAGE)) as document:
        pass

    with pytest.raises(OSError, match="Bad file descriptor"):
        inspect_document(document, None, Limits())
    with pytest.raises(OSError, match="Bad file descriptor"):
        decode_page(document, "image/png", 1, MINI, Limits())


def test_no_file_stays_open():
    def num_open():
        return len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()  # close files that other tests left open before counting
    before = num_open()
    for content in (as_png(PAGE), as_tiff(PAGE, PAGE), pdf()):
        decode_content(content)

    assert num_open() == before


def decode_crops(content, boxes, media_type="image/jpeg", sizing=MINI, number=1):
    with spooled(content) as document:
        crops = crop_images(document, media_type, number, sizing, Limits(), boxes)
    return {name: Image.open(io.BytesIO(crop)) for name, crop in crops.items()}


def test_images_are_cropped_at_original_resolution():
    content = oriented_jpeg(quadrants((480, 800)), 6)

    crops = decode_crops(content, {"a": (240, 0, 480, 400), "b": (0, 400, 240, 800)})

    assert crops["a"].format == "WEBP"
    assert crops["a"].size == crops["b"].size == (240, 400)
    assert crops["a"].getpixel((120, 200))[1] > 240
    assert crops["b"].getpixel((120, 200))[2] > 240


def test_image_is_cropped_from_a_rendered_pdf_page():
    boxes = {"whole": (0, 0, 1588, 2246)}

    crops = decode_crops(pdf(), boxes, "application/pdf", CHANDRA)

    assert crops["whole"].size == (1588, 2246)


def test_boxes_are_clipped_to_the_page():
    boxes = {"half": (-50, -50, 24, 900), "none": (48, 0, 90, 80), "bad": (9, 9, 3, 3)}

    crops = decode_crops(as_png(quadrants()), boxes, "image/png")

    assert {name: crop.size for name, crop in crops.items()} == {"half": (24, 80)}


def test_crop_too_large_for_webp_is_reduced():
    content = as_png(Image.new("1", (20_000, 200)))

    crops = decode_crops(content, {"long": (0, 0, 20_000, 200)}, "image/png")

    assert crops["long"].size == (16_383, 164)
