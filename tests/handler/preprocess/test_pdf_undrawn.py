"""PDF pages of which nothing, or not everything, could be drawn."""

from __future__ import annotations

import base64
import zlib

import pytest
from PIL import Image

from handler.errors import UnreadableDocumentError
from handler.schema import Page
from tests.documents import as_jpeg, blank_pdf_page, pdf_of_objects
from tests.handler.preprocess.reading import darkest, page_of

SHOW_IMAGE = b"q 160 0 0 160 20 20 cm /I Do Q"
TEXT = b"BT /F 20 Tf 20 180 Td (Hello) Tj ET "
JUNK = b"not a thing at all " * 20
GRAY = Image.linear_gradient("L")


def not_drawn(page: Page) -> list[str]:
    return [found.detail for found in page.warnings if found.code == "not_drawn"]


def page_pdf(
    contents: bytes, image: bytes | None = None, filters: bytes = b""
) -> bytes:
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<<"
        b"/XObject<</I 5 0 R>>/Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
        b">>>>>>",
        b"<<%s/Length %d>>\nstream\n%s\nendstream" % (filters, len(contents), contents),
    ]
    return pdf_of_objects(*objects, *([] if image is None else [image]))


def image_object(data: bytes, name: str, extra: bytes = b"", bits: int = 8) -> bytes:
    return (
        b"<</Type/XObject/Subtype/Image/Width 256/Height 256/ColorSpace/DeviceGray"
        b"/BitsPerComponent %d/Filter/%s%s/Length %d>>\nstream\n%s\nendstream"
        % (bits, name.encode(), extra, len(data), data)
    )


@pytest.mark.parametrize(
    ("name", "bits"),
    [("DCTDecode", 8), ("JPXDecode", 8), ("JBIG2Decode", 1), ("FlateDecode", 8)],
)
def test_page_of_a_broken_image_is_unreadable(name, bits):
    content = page_pdf(SHOW_IMAGE, image_object(JUNK, name, bits=bits))

    with pytest.raises(UnreadableDocumentError, match=rf"256 pixels \({name}\)"):
        page_of(content)


def test_broken_image_in_a_form_is_found():
    form = b"<</Type/XObject/Subtype/Form/BBox[0 0 200 200]/Resources<</XObject<<"
    content = page_pdf(
        b"/I Do",
        form
        + b"/J 6 0 R>>>>/Length 30>>\nstream\n%s\nendstream"
        % SHOW_IMAGE.replace(b"/I", b"/J"),
    )
    content = pdf_of_objects(*_objects_of(content), image_object(JUNK, "DCTDecode"))

    with pytest.raises(UnreadableDocumentError, match="DCTDecode"):
        page_of(content)


def _objects_of(content: bytes) -> list[bytes]:
    parts = content.partition(b"xref")[0].split(b" 0 obj\n")[1:]
    return [part.rpartition(b"\nendobj")[0] for part in parts]


def test_page_with_text_and_a_broken_image_is_read_with_warning():
    page = page_of(page_pdf(TEXT + SHOW_IMAGE, image_object(JUNK, "DCTDecode")))

    assert [warning.code for warning in page.warnings] == ["not_drawn"]
    assert darkest(page, 0, 0.2) < 100


def test_flate_image_of_which_most_is_missing_is_warned_of():
    data = zlib.compress(GRAY.tobytes()[::-1])
    page = page_of(page_pdf(SHOW_IMAGE, image_object(data[:150], "FlateDecode")))

    assert [warning.code for warning in page.warnings] == ["not_drawn"]


@pytest.mark.parametrize(
    "image",
    [
        image_object(zlib.compress(GRAY.tobytes()), "FlateDecode"),
        image_object(zlib.compress(b"\xff" * 65_536), "FlateDecode"),
        image_object(zlib.compress(bytes(65_536)), "FlateDecode"),
        image_object(as_jpeg(GRAY), "DCTDecode"),
        image_object(as_jpeg(Image.new("L", (256, 256), 255)), "DCTDecode"),
    ],
    ids=["gradient", "white", "black", "jpeg", "white jpeg"],
)
def test_good_image_has_no_warning(image):
    assert not_drawn(page_of(page_pdf(SHOW_IMAGE, image))) == []


@pytest.mark.parametrize(
    ("contents", "filters"),
    [
        (JUNK, b"/Filter/FlateDecode"),
        (zlib.compress(TEXT * 9)[:20], b"/Filter/FlateDecode"),
        (JUNK, b"/Filter/LZWDecode"),
        (b"\xff\xfe{{", b"/Filter/ASCII85Decode"),
        (base64.a85encode(JUNK) + b"~>", b"/Filter[/ASCII85Decode/FlateDecode]"),
        (b"xyz", b"/Filter/ASCIIHexDecode"),
        (SHOW_IMAGE, b""),
    ],
    ids=["flate", "cut", "lzw", "ascii85", "two filters", "hex", "missing image"],
)
def test_page_of_broken_contents_is_unreadable(contents, filters):
    with pytest.raises(
        UnreadableDocumentError, match="page 1 cannot be drawn: its con"
    ):
        page_of(page_pdf(contents, filters=filters))


@pytest.mark.parametrize(
    "content",
    [
        blank_pdf_page(200, 200),
        page_pdf(b""),
        page_pdf(b"q Q"),
        page_pdf(zlib.compress(b"q Q"), filters=b"/Filter/FlateDecode"),
    ],
    ids=["no contents", "empty", "no operators", "compressed"],
)
def test_empty_page_is_not_a_broken_one(content):
    assert not_drawn(page_of(content)) == []
