"""Tests of PDF pages with parts that cannot be rendered."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import pytest
import tifffile
from PIL import Image, ImageChops

from handler.errors import UnreadableDocumentError
from handler.schema import Page
from tests.documents import as_jpeg, blank_pdf_page, pdf_of_objects
from tests.handler.preprocess.reading import darkest_level, decode_content

DRAW_IMAGE = b"q 160 0 0 160 20 20 cm /I Do Q"
DRAW_TEXT = b"BT /F 20 Tf 20 180 Td (Hello) Tj ET "
JUNK = b"not a thing at all " * 20
ARBITRARY_BYTES = bytes(range(7, 200)) * 20
GRAY = Image.linear_gradient("L")


def not_drawn_details(page: Page) -> list[str]:
    """Return the details of the page's `not_drawn` warnings."""
    return [warning.detail for warning in page.warnings if warning.code == "not_drawn"]


def pdf_of_contents(
    contents: bytes, image: bytes | None = None, filters: bytes = b""
) -> bytes:
    """Return a PDF page with a content stream and an image or form named /I."""
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
def test_page_with_only_a_damaged_image_is_unreadable(name, bits):
    content = pdf_of_contents(DRAW_IMAGE, image_object(JUNK, name, bits=bits))

    with pytest.raises(UnreadableDocumentError, match=rf"256 pixels \({name}\)"):
        decode_content(content)


def jbig2_of(image: Image.Image) -> bytes:
    """Encode a bilevel image as embedded JBIG2, a generic region with fax coding."""
    stream = io.BytesIO()
    ink = ImageChops.invert(image.convert("1"))
    ink.save(stream, "TIFF", compression="group4")
    stream.seek(0)
    [frame] = tifffile.TiffFile(stream).pages
    start, length = frame.dataoffsets[0], frame.databytecounts[0]
    fax = stream.getvalue()[start : start + length]
    page = struct.pack(">LLLLBH", *image.size, 0, 0, 0, 0)
    region = struct.pack(">LLLLBB", *image.size, 0, 0, 0, 1) + fax
    return b"".join(
        struct.pack(">LBBBL", number, kind, 0, 1, len(data)) + data
        for number, (kind, data) in enumerate([(48, page), (38, region), (49, b"")])
    )


@pytest.mark.parametrize("is_white", [True, False])
def test_intact_jbig2_image_has_no_warning(is_white):
    data = jbig2_of(Image.new("1", (256, 256), 255) if is_white else GRAY)

    page = decode_content(
        pdf_of_contents(DRAW_IMAGE, image_object(data, "JBIG2Decode", bits=1))
    )

    assert not_drawn_details(page) == []
    assert page.is_blank == is_white


@pytest.mark.parametrize("data", [ARBITRARY_BYTES, jbig2_of(GRAY)[:60], b"\0" * 99])
def test_page_with_only_damaged_jbig2_is_unreadable(data):
    content = pdf_of_contents(DRAW_IMAGE, image_object(data, "JBIG2Decode", bits=1))

    with pytest.raises(UnreadableDocumentError, match="JBIG2Decode"):
        decode_content(content)


def pdf_with_mask(mask: bytes, entry: bytes = b"SMask") -> bytes:
    """Return a PDF page with an intact image and the object of its mask."""
    extra = b"/%s 6 0 R" % entry
    content = pdf_of_contents(
        DRAW_IMAGE, image_object(as_jpeg(GRAY), "DCTDecode", extra)
    )
    return pdf_of_objects(*split_objects(content), mask)


def test_page_with_only_a_damaged_mask_is_unreadable():
    with pytest.raises(UnreadableDocumentError, match="in a mask, an image of 256"):
        decode_content(pdf_with_mask(image_object(ARBITRARY_BYTES, "FlateDecode")))


def test_image_is_rendered_if_pdfium_ignores_its_mask():
    page = decode_content(pdf_with_mask(image_object(ARBITRARY_BYTES, "DCTDecode")))

    assert not page.is_blank


@pytest.mark.parametrize("level", [0, 255])
def test_intact_mask_has_no_warning(level):
    data = zlib.compress(bytes([level]) * 65_536)

    page = decode_content(pdf_with_mask(image_object(data, "FlateDecode")))

    assert not_drawn_details(page) == []
    assert page.is_blank == (level == 0)


def test_damaged_image_in_a_form_is_detected():
    form = b"<</Type/XObject/Subtype/Form/BBox[0 0 200 200]/Resources<</XObject<<"
    content = pdf_of_contents(
        b"/I Do",
        form
        + b"/J 6 0 R>>>>/Length 30>>\nstream\n%s\nendstream"
        % DRAW_IMAGE.replace(b"/I", b"/J"),
    )
    content = pdf_of_objects(*split_objects(content), image_object(JUNK, "DCTDecode"))

    with pytest.raises(UnreadableDocumentError, match="DCTDecode"):
        decode_content(content)


def split_objects(content: bytes) -> list[bytes]:
    """Return the objects of a PDF from `pdf_of_objects`."""
    parts = content.partition(b"xref")[0].split(b" 0 obj\n")[1:]
    return [part.rpartition(b"\nendobj")[0] for part in parts]


def test_text_beside_a_damaged_image_is_read_with_warning():
    page = decode_content(
        pdf_of_contents(DRAW_TEXT + DRAW_IMAGE, image_object(JUNK, "DCTDecode"))
    )

    assert [warning.code for warning in page.warnings] == ["not_drawn"]
    assert darkest_level(page, 0, 0.2) < 100


def test_mostly_missing_flate_image_has_a_warning():
    data = zlib.compress(GRAY.tobytes()[::-1])
    page = decode_content(
        pdf_of_contents(DRAW_IMAGE, image_object(data[:150], "FlateDecode"))
    )

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
def test_intact_image_has_no_warning(image):
    assert not_drawn_details(decode_content(pdf_of_contents(DRAW_IMAGE, image))) == []


@pytest.mark.parametrize(
    ("contents", "filters"),
    [
        (JUNK, b"/Filter/FlateDecode"),
        (zlib.compress(DRAW_TEXT * 9)[:20], b"/Filter/FlateDecode"),
        (JUNK, b"/Filter/LZWDecode"),
        (b"\xff\xfe{{", b"/Filter/ASCII85Decode"),
        (base64.a85encode(JUNK) + b"~>", b"/Filter[/ASCII85Decode/FlateDecode]"),
        (b"xyz", b"/Filter/ASCIIHexDecode"),
        (DRAW_IMAGE, b""),
        (ARBITRARY_BYTES, b""),
        (ARBITRARY_BYTES, b"/Filter/RunLengthDecode"),
        (ARBITRARY_BYTES, b"/Filter/DCTDecode"),
        (ARBITRARY_BYTES, b"/Filter/Unknown-1"),
        (ARBITRARY_BYTES, b"/Filter/Crypt"),
        (zlib.compress(JUNK), b"/Filter/FlateDecode"),
        (b"1 2 3", b""),
    ],
    ids=[
        "flate",
        "cut",
        "lzw",
        "ascii85",
        "two filters",
        "hex",
        "missing image",
        "junk",
        "run length",
        "jpeg",
        "unknown filter",
        "crypt",
        "compressed junk",
        "no operators",
    ],
)
def test_page_with_damaged_contents_is_unreadable(contents, filters):
    with pytest.raises(
        UnreadableDocumentError, match="page 1 cannot be rendered: its con"
    ):
        decode_content(pdf_of_contents(contents, filters=filters))


def pdf_of_page_entries(entries: bytes, *objects: bytes) -> bytes:
    """Return a PDF page with further entries, and further objects from number 4 on."""
    return pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]%s>>" % entries,
        *objects,
    )


@pytest.mark.parametrize(
    ("contents", "objects"),
    [
        (b"/Contents 9 0 R", ()),
        (b"/Contents[9 0 R]", ()),
        (b"/Contents 4 0 R", (b"<</A 1>>",)),
        (b"/Contents<</A 1>>", ()),
        (b"/Contents[4 0 R]", (b"(text)",)),
    ],
    ids=["missing", "missing in array", "dictionary", "direct", "string"],
)
def test_page_without_a_content_stream_is_unreadable(contents, objects):
    with pytest.raises(UnreadableDocumentError, match="its content stream is"):
        decode_content(pdf_of_page_entries(contents, *objects))


def form_object(data: bytes, entries: bytes = b"") -> bytes:
    return (
        b"<</Type/XObject/Subtype/Form/BBox[0 0 200 200]%s/Length %d>>\nstream\n"
        b"%s\nendstream" % (entries, len(data), data)
    )


@pytest.mark.parametrize(
    ("data", "entries"),
    [
        (JUNK, b"/Filter/FlateDecode"),
        (ARBITRARY_BYTES, b""),
        (ARBITRARY_BYTES, b"/Filter/DCTDecode"),
        (b"q /Gone Do Q", b"/Resources<</XObject<</Gone 9 0 R>>>>"),
    ],
    ids=["flate", "junk", "jpeg", "missing image"],
)
def test_page_with_only_a_damaged_form_is_unreadable(data, entries):
    content = pdf_of_contents(b"/I Do", form_object(data, entries))

    with pytest.raises(UnreadableDocumentError, match="of a form XObject"):
        decode_content(content)


def test_white_page_with_damaged_stream_is_unreadable():
    white = b"1 g 0 0 200 200 re f"
    content = pdf_of_page_entries(
        b"/Contents[4 0 R 5 0 R]",
        b"<</Length %d>>\nstream\n%s\nendstream" % (len(white), white),
        b"<</Filter/FlateDecode/Length %d>>\nstream\n%s\nendstream" % (len(JUNK), JUNK),
    )

    with pytest.raises(UnreadableDocumentError, match="FlateDecode"):
        decode_content(content)


CONTENTS_WITHOUT_INK = zlib.compress(b"q 1 0 0 1 5 5 cm 0 0 9 9 re W n Q % no ink")
ASCII_CONTENTS_WITHOUT_INK = b"q Q q Q".hex(" ").encode() + b">"
ANNOTATION = b"/Annots[<</Subtype/Text/Contents<FEFF0041>/F 2/BS<</W 1>>>>]"


@pytest.mark.parametrize(
    "content",
    [
        blank_pdf_page(200, 200),
        pdf_of_contents(b""),
        pdf_of_contents(b"q Q"),
        pdf_of_contents(CONTENTS_WITHOUT_INK, filters=b"/Filter/FlateDecode"),
        pdf_of_contents(b" \n % nothing (here\n"),
        pdf_of_contents(
            b"/Span<</ActualText(a (b) \\( c)>>BDC BT /F 9 Tf ET EMC BX foo EX"
        ),
        pdf_of_contents(b"", filters=b"/Filter/Unknown"),
        pdf_of_contents(b"/I Do", form_object(b"")),
        pdf_of_contents(b"/I Do", form_object(b"q Q")),
        pdf_of_page_entries(b"/Contents[]"),
        pdf_of_page_entries(b"/Contents null"),
        pdf_of_page_entries(b"/Contents 4 0 R", b"null"),
        pdf_of_page_entries(ANNOTATION),
        pdf_of_page_entries(
            b"/Contents 4 0 R",
            b"<</Filter/FlateDecode/Length 5 0 R>>\nstream\n%s\nendstream"
            % CONTENTS_WITHOUT_INK,
            b"%d" % len(CONTENTS_WITHOUT_INK),
        ),
        pdf_of_page_entries(
            b"/Contents 4 0 R",
            b"<</Filter[5 0 R]/Length %d>>\nstream\n%s\nendstream"
            % (len(ASCII_CONTENTS_WITHOUT_INK), ASCII_CONTENTS_WITHOUT_INK),
            b"/ASCIIHexDecode",
        ),
    ],
    ids=[
        "no contents",
        "empty",
        "no operators",
        "compressed",
        "comment",
        "marked content",
        "unknown filter of nothing",
        "empty form",
        "form without ink",
        "empty array",
        "null",
        "reference to null",
        "annotation with contents",
        "indirect length",
        "indirect filter",
    ],
)
def test_empty_page_has_no_warning(content):
    assert not_drawn_details(decode_content(content)) == []
