"""Test documents: normal, unusual and malicious ones.

All are generated as bytes; no file is read.
"""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pillow_heif
import pypdfium2
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from handler.sandbox.wire import Descriptor

LINES = ("Invoice 4711", "Two pens, blue", "Total: 3.20")


@contextmanager
def spooled(content: bytes) -> Iterator[Descriptor]:
    """Provide the content as an open file without a name, as decoders get it."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        yield Descriptor(file.fileno())


# Images


def text_page(
    lines: Sequence[str] = LINES, size: tuple[int, int] = (640, 800)
) -> Image.Image:
    """Return black lines of text on white, in a size that the embedded model reads."""
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    height = max(18, size[1] // 32)
    font = ImageFont.load_default(height)
    for row, line in enumerate(lines):
        draw.text((height, height * (1 + 2 * row)), line, fill="black", font=font)
    return page


def quadrants(size: tuple[int, int] = (48, 80)) -> Image.Image:
    """Return an image of four coloured quadrants, which shows how it is turned."""
    page = Image.new("RGB", size)
    width, height = size
    for left, top, colour in (
        (0, 0, "#f00"),
        (width // 2, 0, "#0f0"),
        (0, height // 2, "#00f"),
        (width // 2, height // 2, "#ff0"),
    ):
        page.paste(colour, (left, top, left + width // 2, top + height // 2))
    return page


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


encoded = _encoded
"""Encode an image in the format that Pillow calls `kind`."""


def as_heic(image: Image.Image, **options: Any) -> bytes:
    """Encode HEIC, in which the EXIF orientation becomes a rotation property."""
    pillow_heif.register_heif_opener()
    if "exif" in options:
        image = image.copy()
        image.info["exif"] = options.pop("exif").tobytes()
    return _encoded(image, "HEIF", **options)


def as_png(image: Image.Image, **options: Any) -> bytes:
    return _encoded(image, "PNG", **options)


def as_jpeg(image: Image.Image, **options: Any) -> bytes:
    return _encoded(image, "JPEG", **options)


def as_webp(image: Image.Image, **options: Any) -> bytes:
    return _encoded(image, "WEBP", **options)


def as_gif(*frames: Image.Image, **options: Any) -> bytes:
    first, *rest = frames
    return _encoded(first, "GIF", save_all=True, append_images=rest, **options)


def as_bmp(image: Image.Image) -> bytes:
    return _encoded(image, "BMP")


def as_tiff(*frames: Image.Image, **options: Any) -> bytes:
    first, *rest = frames
    return _encoded(first, "TIFF", save_all=True, append_images=rest, **options)


def as_mpo(*frames: Image.Image) -> bytes:
    """Return a JPEG followed by further pictures, as some cameras write."""
    first, *rest = frames
    return _encoded(first, "MPO", save_all=True, append_images=rest)


def oriented_jpeg(upright: Image.Image, orientation: int) -> bytes:
    """Return a photograph that its EXIF orientation, 1 to 8, makes upright."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    pixels = upright if back is None else upright.transpose(back)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return as_jpeg(pixels, exif=exif, quality=95, subsampling=0)


def png_of(width: int, height: int, *, bits: int, colour: int, data: bytes) -> bytes:
    """Return a PNG with one chunk of data, which need not match its header."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


def _tiff_directory(next_offset: int, *tags: tuple[int, int, int]) -> bytes:
    """Return a TIFF directory of (tag, type, value) with one value each."""
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, v) for tag, kind, v in tags)
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", next_offset)


def tiff_whose_pages_loop() -> bytes:
    """Return a TIFF of two pages of one gray pixel; the second links to the first."""
    length = len(_tiff_directory(0, *_one_pixel(0)))
    second = 8 + length
    pixels = second + length
    return (
        struct.pack("<2sHI", b"II", 42, 8)
        + _tiff_directory(second, *_one_pixel(pixels))
        + _tiff_directory(8, *_one_pixel(pixels))
        + b"\x80"
    )


def tiff_of_many_pages(num_pages: int) -> bytes:
    """Return a TIFF whose pages are empty directories of six bytes, the minimum."""
    offsets = range(8, 8 + 6 * num_pages, 6)
    links = [*offsets[1:], 0]
    return struct.pack("<2sHI", b"II", 42, 8) + b"".join(
        struct.pack("<HI", 0, link) for link in links
    )


def _one_pixel(offset: int) -> tuple[tuple[int, int, int], ...]:
    return (
        (256, 3, 1),  # width
        (257, 3, 1),  # height
        (258, 3, 8),  # bits
        (259, 3, 1),  # not compressed
        (262, 3, 1),  # 0 is black
        (273, 4, offset),
        (279, 4, 1),
    )


# Malicious images


def compressed_zeros(num_bytes: int) -> bytes:
    """Return zlib data that decompress to `num_bytes` zero bytes."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(num_bytes >> 20)]
    parts.append(packer.compress(bytes(num_bytes & 0xFFFFF)))
    return b"".join([*parts, packer.flush()])


def huge_png_header() -> bytes:
    """Return a PNG of under a hundred bytes that declares 10,000 million pixels."""
    return png_of(100_000, 100_000, bits=8, colour=2, data=b"")


def png_bomb(side: int = 30_000) -> bytes:
    """Return a PNG of a black square, a thousandth of the size of its pixels."""
    row = 1 + (side + 7) // 8
    data = compressed_zeros(row * side)
    return png_of(side, side, bits=1, colour=0, data=data)


def png_idat_bomb(num_bytes: int = 600 << 20) -> bytes:
    """Return a PNG of 64 x 64 pixels with hundreds of megabytes of data."""
    return png_of(64, 64, bits=8, colour=0, data=compressed_zeros(num_bytes))


def gif_with_a_frame_larger_than_itself() -> bytes:
    """Return a GIF of 10 x 10 pixels whose first frame is 65535 x 65535."""
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", 10, 10, 0x80, 0, 0)
        + b"\0\0\0\xff\xff\xff,"
        + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0)
        + b"\x02\x02\x4c\x01\x00;"
    )


# PDF


def pdf(
    pages: Sequence[Sequence[str]] = (LINES,),
    *,
    password: str | None = None,
    owner_password: str | None = None,
    size: tuple[float, float] = A4,
) -> bytes:
    """Return a PDF with a page of text for each sequence of lines.

    `password` is needed to open it. With only `owner_password`, none is needed.
    """
    encryption = None
    if password is not None or owner_password is not None:
        encryption = StandardEncryption(
            password or "", owner_password or "owner", strength=128
        )
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=size, encrypt=encryption, invariant=True)
    for lines in pages:
        # The embedded model gets A4 pages with 6/7 pixels per point.
        canvas.setFont("Helvetica", 26)
        for row, line in enumerate(lines):
            canvas.drawString(72, size[1] - 72 - 44 * row, line)
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def as_pdf(*pictures: Image.Image, resolution: int) -> bytes:
    """Return a PDF of pictures without text, with `resolution` pixels per inch."""
    first, *rest = pictures
    return _encoded(
        first, "PDF", save_all=True, append_images=rest, resolution=resolution
    )


def rotated_pdf(rotation: int) -> bytes:
    """Return a PDF of a page that /Rotate turns clockwise by `rotation` degrees."""
    return rotated(pdf(), rotation)


def rotated(document: bytes, rotation: int) -> bytes:
    """Return the PDF with its first page turned clockwise by `rotation` degrees."""
    stream = io.BytesIO()
    with pypdfium2.PdfDocument(document) as opened:
        opened[0].set_rotation(rotation)
        opened.save(stream)
    return stream.getvalue()


def truncated_pdf() -> bytes:
    """Return the first 300 bytes of a valid PDF, which cannot be repaired."""
    return pdf()[:300]


def empty_pdf() -> bytes:
    """Return a well-formed PDF without pages."""
    return pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>"
    )


def pdf_with_one_bad_page() -> bytes:
    """Return a PDF of three pages, of which the second is a string object."""
    good = (
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 300]/Contents 6 0 R"
        b"/Resources<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>"
    )
    text = b"BT /F 24 Tf 20 200 Td (Hello) Tj ET"
    return pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R 4 0 R 5 0 R]/Count 3>>",
        good,
        b"(not a page)",
        good,
        b"<</Length %d>>\nstream\n%s\nendstream" % (len(text), text),
    )


def pdf_with_form_and_annotation() -> bytes:
    """Return a PDF of 200 x 200 points with a form field and an annotation.

    The upper half has a text field filled with X, and the lower half a black square.
    """
    appearance = b"/Tx BMC BT /H 40 Tf 2 10 Td (XXXX) Tj ET EMC"
    font = b"<</H<</Type/Font/Subtype/Type1/BaseFont/Helvetica-Bold>>>>"
    return pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[4 0 R]/DA(/H 40 Tf 0 g)"
        b"/DR<</Font%s>>>>>>" % font,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Annots[4 0 R 5 0 R]>>",
        b"<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/V(XXXX)/F 4/P 3 0 R"
        b"/Rect[20 120 180 180]/DA(/H 40 Tf 0 g)/AP<</N 6 0 R>>>>",
        b"<</Type/Annot/Subtype/Square/F 4/P 3 0 R/Rect[20 20 180 80]"
        b"/C[0 0 0]/IC[0 0 0]>>",
        b"<</Type/XObject/Subtype/Form/BBox[0 0 160 60]/Resources<</Font%s>>"
        b"/Length %d>>\nstream\n%s\nendstream" % (font, len(appearance), appearance),
    )


def blank_pdf_page(width: float, height: float) -> bytes:
    """Return a PDF with a white page of a size in points."""
    return pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {width} {height}]>>".encode(),
    )


def pdf_of_objects(*objects: bytes) -> bytes:
    """Return a PDF of objects numbered from 1, the first of which is the catalog."""
    content = b"%PDF-1.4\n"
    offsets = []
    for number, value in enumerate(objects, start=1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, value)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return content + (
        b"xref\n0 %d\n0000000000 65535 f \n%s"
        b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
    ) % (len(objects) + 1, table, len(objects) + 1, len(content))
