"""Media type of a document by its bytes, as the service detects it."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import example, given, strategies as st

from deploy.documents.document import MEDIA_TYPES
from deploy.documents.signatures import (
    HEAD_BYTES,
    MAGIC,
    TAIL_BYTES,
    Sample,
    choose_media_type,
    is_unmistakable,
    media_type_of,
    read_sample,
)
from handler.errors import UnsupportedMediaTypeError
from handler.preprocess import media
from tests.documents import (
    as_bmp,
    as_gif,
    as_heic,
    as_jpeg,
    as_png,
    as_tiff,
    as_webp,
    encoded,
    pdf,
    text_page,
)

PAGE = text_page(size=(32, 32))
UNKNOWN = "application/octet-stream"
DOCUMENTS = {
    "png": as_png(PAGE),
    "jpeg": as_jpeg(PAGE),
    "webp": as_webp(PAGE),
    "bmp": as_bmp(PAGE),
    "gif": as_gif(PAGE),
    "tiff": as_tiff(PAGE),
    "heic": as_heic(PAGE),
    "avif": encoded(PAGE, "AVIF"),
    "jp2": encoded(PAGE, "JPEG2000"),
    "pnm": encoded(PAGE, "PPM"),
    "tga": encoded(PAGE, "TGA"),
    "ico": encoded(PAGE, "ICO"),
    "pdf": pdf(),
}
PIECES = [
    *(magic for magic, _ in MAGIC),
    *(b"RIFF", b"WEBP", b"\0\0\0\x18ftyp", b"heic", b"mif1", b"avif", b"abcd"),
    *(b"P1", b"P5", b"P6 ", b" 12 ", b"#c\n", b"255\n", b"0 1\n", b"%PDF-", b"%c\n"),
    *(b"1 0 obj", b"\n7 0 obj", b"\r", b"text", b"\0", b"<html>", b"PK\3\4"),
]
HEADS = st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=8).map(
    b"".join
)
ENDINGS = st.sampled_from([b"", b"TRUEVISION-XFILE.\0", b"other"])
DECLARED_TYPES = st.sampled_from([UNKNOWN, *sorted(set(MEDIA_TYPES.values()))])


def detect_as_service(declared, head, tail):
    try:
        return media.resolve_media_type(declared, head, tail)
    except UnsupportedMediaTypeError:
        return None


def test_limits_equal_those_of_the_service():
    assert (HEAD_BYTES, TAIL_BYTES) == (media.HEAD_BYTES, media.TAIL_BYTES)
    assert set(MEDIA_TYPES.values()) == set(media.MEDIA_TYPES)


@given(HEADS)
@example(bytes(1019) + b"%PDF-1.7")
@example(bytes(1020) + b"%PDF-1.7")
def test_first_bytes_give_the_same_type_as_the_service(head):
    assert media_type_of(head) == media.media_type_of(head[:HEAD_BYTES])


@given(HEADS, ENDINGS, DECLARED_TYPES)
def test_declared_type_equals_that_of_service(head, tail, by_name):
    kind = choose_media_type(Sample(head, tail), by_name)

    if not head.startswith(b"\x1f\x8b\x08"):
        assert detect_as_service(kind or UNKNOWN, head, tail) == kind


@pytest.mark.parametrize("kind", sorted(DOCUMENTS))
def test_type_does_not_depend_on_name(tmp_path, kind):
    path = tmp_path / "document"
    path.write_bytes(DOCUMENTS[kind])

    media_type = choose_media_type(read_sample(path), UNKNOWN)

    # Pillow writes a TGA with a footer.
    assert media_type == MEDIA_TYPES[f".{kind}"]


def test_type_inside_gzip_is_detected():
    sample = Sample(gzip.compress(DOCUMENTS["pdf"])[:HEAD_BYTES])

    assert choose_media_type(sample, UNKNOWN) == "application/pdf"
    assert choose_media_type(Sample(gzip.compress(b"words")), UNKNOWN) is None


def test_tga_without_footer_is_detected_by_name():
    assert choose_media_type(Sample(b"\0\0\2\0"), "image/x-tga") == "image/x-tga"
    assert choose_media_type(Sample(b"\0\0\2\0"), UNKNOWN) is None


def test_damaged_pdf_is_detected_by_name():
    sample = Sample(b"damaged\n1 0 obj\n<<>>")

    assert choose_media_type(sample, "application/pdf") == "application/pdf"
    assert choose_media_type(sample, UNKNOWN) is None


@pytest.mark.parametrize(
    "head", [b"BMW and others", b"P1 1 1 0", b"A text about %PDF-1.7", b"words"]
)
def test_ordinary_text_is_not_a_document(head):
    assert not is_unmistakable(Sample(head))


@pytest.mark.parametrize("kind", ["gif", "jpeg", "pdf", "png", "tiff"])
def test_document_without_suffix_is_detected(kind):
    assert is_unmistakable(Sample(DOCUMENTS[kind][:HEAD_BYTES]))
