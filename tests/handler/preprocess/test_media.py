"""Tests of declared media types and of types detected from the content."""

from __future__ import annotations

import pytest

from handler.errors import UnsupportedMediaTypeError
from handler.preprocess import MEDIA_TYPES, media_type_of
from handler.preprocess.media import resolve_media_type
from tests.documents import (
    as_bmp,
    as_gif,
    as_heic,
    as_jpeg,
    as_mpo,
    as_png,
    as_tiff,
    as_webp,
    encoded,
    pdf,
    text_page,
)

PAGE = text_page(size=(32, 32))
SAMPLES = {
    "image/png": as_png(PAGE),
    "image/jpeg": as_jpeg(PAGE),
    "image/webp": as_webp(PAGE),
    "image/bmp": as_bmp(PAGE),
    "image/gif": as_gif(PAGE),
    "image/tiff": as_tiff(PAGE),
    "image/heic": as_heic(PAGE),
    "image/avif": encoded(PAGE, "AVIF"),
    "image/jp2": encoded(PAGE, "JPEG2000"),
    "image/x-portable-anymap": encoded(PAGE, "PPM"),
    "image/x-tga": encoded(PAGE, "TGA"),
    "image/vnd.microsoft.icon": encoded(PAGE, "ICO"),
    "application/pdf": pdf(),
}


def test_every_supported_type_has_a_sample():
    assert set(SAMPLES) == set(MEDIA_TYPES)


@pytest.mark.parametrize("media_type", sorted({*MEDIA_TYPES} - {"image/x-tga"}))
def test_type_is_detected_from_the_first_bytes(media_type):
    assert media_type_of(SAMPLES[media_type]) == media_type


@pytest.mark.parametrize("magic", [b"MM\0*", b"II+\0", b"MM\0+"])
def test_bigtiff_and_big_endian_tiff_are_detected(magic):
    assert media_type_of(magic) == "image/tiff"


def test_jpeg_with_several_images_is_a_jpeg():
    assert media_type_of(as_mpo(PAGE, PAGE)) == "image/jpeg"


def test_pdf_header_may_be_within_the_first_kibibyte():
    assert media_type_of(bytes(1019) + b"%PDF-1.7") == "application/pdf"
    assert media_type_of(bytes(1020) + b"%PDF-1.7") is None


@pytest.mark.parametrize("head", [b"", b"RIFF1234WAVE", b"<html>", b"PK\3\4"])
def test_other_content_has_no_type(head):
    assert media_type_of(head) is None


@pytest.mark.parametrize(
    "declared",
    [None, "", "application/octet-stream", "binary/octet-stream; charset=binary"],
)
def test_generic_declaration_leaves_detection_to_content(declared):
    assert resolve_media_type(declared, SAMPLES["image/png"]) == "image/png"


@pytest.mark.parametrize(
    ("declared", "media_type"),
    [
        ("image/jpg", "image/jpeg"),
        ("image/pjpeg", "image/jpeg"),
        ("image/x-png", "image/png"),
        ("image/x-ms-bmp", "image/bmp"),
        ("image/tif", "image/tiff"),
        ("application/x-pdf", "application/pdf"),
        (" IMAGE/PNG; charset=binary", "image/png"),
    ],
)
def test_common_spellings_of_a_type_are_accepted(declared, media_type):
    assert resolve_media_type(declared, SAMPLES[media_type]) == media_type


def test_error_names_declared_and_detected_type():
    with pytest.raises(UnsupportedMediaTypeError, match=r"image/png.*image/jpeg"):
        resolve_media_type("image/png", SAMPLES["image/jpeg"])


def test_declared_type_with_unknown_content_is_rejected():
    with pytest.raises(UnsupportedMediaTypeError, match="of no supported type"):
        resolve_media_type("image/png", b"\x81\x82\x83")


def test_error_of_unsupported_type_lists_supported_types():
    with pytest.raises(UnsupportedMediaTypeError) as caught:
        resolve_media_type("text/plain", b"hello")

    assert "text/plain" in caught.value.detail
    assert all(media_type in caught.value.detail for media_type in MEDIA_TYPES)


def test_error_of_unknown_content_lists_supported_types():
    with pytest.raises(UnsupportedMediaTypeError, match="application/pdf"):
        resolve_media_type(None, b"hello")


def test_tga_is_detected_by_declaration_or_footer():
    content = SAMPLES["image/x-tga"]

    assert resolve_media_type("image/x-targa", content) == "image/x-tga"
    assert resolve_media_type(None, content, content[-18:]) == "image/x-tga"
    with pytest.raises(UnsupportedMediaTypeError):
        resolve_media_type(None, content)


@pytest.mark.parametrize(
    "head",
    [
        *(b"P5\n# by hand\n8 8 255\n", b"P1 2 2 0", b"P1\n2 2\n# four\n0101"),
        *(b"P4 8 8\n\xff", b"P6\n8 # wide\n8\t255\n\0\1", b"P6#x\n08 8\r\n65535 "),
        *(b"P2\n2 2\n15\n0 1 2 3", b"P3 1 1 255\n# cut"),
    ],
)
def test_pnm_may_have_comments(head):
    assert media_type_of(head) == "image/x-portable-anymap"


@pytest.mark.parametrize(
    "head",
    [
        *(b"P5 is a road", b"P4 2024 budget of the harbour", b"P6 12 8 crates"),
        *(b"P1 2024 12 budget", b"P3 10 20 30 tons", b"P5 0 8 255\n", b"P6 8 8 255"),
        *(b"P4", b"P5 2024 12.5 90", b"P2 1 1 655360 1"),
        b"\0\0\0\x18ftypisom\0\0\0\0mp42",
    ],
)
def test_prose_and_videos_are_not_images(head):
    assert media_type_of(head) is None


@pytest.mark.parametrize(
    ("declared", "media_type"),
    [
        *(("image/x-tiff", "image/tiff"), ("application/tiff", "image/tiff")),
        *(("image/x-citrix-png", "image/png"), ("image/x-png", "image/png")),
        *(("image/x-bmp", "image/bmp"), ("image/x-windows-bmp", "image/bmp")),
        *(("image/jpe", "image/jpeg"), ("image/pipeg", "image/jpeg")),
        *(("image/gi_", "image/gif"), ("image/x-webp", "image/webp")),
        *(("text/pdf", "application/pdf"), ("application/acrobat", "application/pdf")),
        *(("application/force-download", "image/png"), ("image/*", "application/pdf")),
        *(("application/x-octet-stream", "image/gif"), ("*/*", "image/png")),
        *(('"image/png"', "image/png"), ('image/png; name="a;b"', "image/png")),
    ],
)
def test_aliases_of_a_type_are_accepted(declared, media_type):
    assert resolve_media_type(declared, SAMPLES[media_type]) == media_type


@pytest.mark.parametrize("declared", ["image/x-tiff", "image/jpe", "text/pdf"])
def test_alias_that_differs_from_content_is_rejected(declared):
    with pytest.raises(UnsupportedMediaTypeError, match="but its content is image/png"):
        resolve_media_type(declared, SAMPLES["image/png"])
