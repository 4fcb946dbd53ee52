"""The images on a PDF page, and whether pdfium can decode them."""

from __future__ import annotations

import ctypes
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pypdfium2
import pypdfium2.raw as pdfium

from handler.preprocess.pdf.jbig2 import has_jbig2_page
from handler.rotation import Box

__all__ = ["MAX_IMAGES", "PageImage", "image_fault", "page_images"]

_Matrix = tuple[float, float, float, float, float, float]
_Corner = tuple[float, float]

MAX_OBJECTS = 1000
"""A page of a drawing has 100,000 objects, and each costs a microsecond. Scans begin
with their images."""
MAX_IMAGES = 50
_MAX_DEPTH = 4
# pdfium has no limit of its own. One byte of Flate data gives at most 1,032.
_MAX_DECODED_RAW_BYTES = 64 << 10
_PIECE_BYTES = 4096
# Of these pdfium itself reports that they cannot be decoded, or nobody can tell.
_REPORTED = frozenset({"DCTDecode", "JPXDecode", "CCITTFaxDecode"})
# Even their header cannot be read without decoding all of them.
_SLOW = frozenset({"JPXDecode", "JBIG2Decode"})


@dataclass(frozen=True, slots=True)
class PageImage:
    """An image object of pdfium's, and the area that it covers."""

    object: pdfium.FPDF_PAGEOBJECT
    box: Box
    """In pixels of the drawn page."""


def page_images(
    page: pypdfium2.PdfPage, width: int, height: int
) -> Iterator[PageImage]:
    """Yield images among the first objects of a page drawn at `width` x `height`."""
    top = _objects(
        pdfium.FPDFPage_CountObjects(page),
        lambda index: pdfium.FPDFPage_GetObject(page, index),
        (),
    )
    num_images = 0
    for num_objects, (raw, corners) in enumerate(top, start=1):
        if corners:
            yield PageImage(raw, _device_box(page, width, height, corners))
            num_images += 1
        if num_objects >= MAX_OBJECTS or num_images >= MAX_IMAGES:
            return


def image_fault(
    page: pypdfium2.PdfPage, image: PageImage, *, is_plain: bool, ends_black: bool
) -> str | None:
    """Say what is wrong with an image; None if it was drawn.

    `is_plain` is true if its area on the page has one color, `ends_black` if its lower
    half is black, as pdfium draws data that are missing. Other areas show the image, or
    what lies upon it; there only the image's header is looked at.
    """
    filters = _filters(image.object)
    if not is_plain and _SLOW.intersection(filters):
        return None
    header = pdfium.FPDF_IMAGEOBJ_METADATA()
    pdfium.FPDFImageObj_GetImageMetadata(image.object, page, header)
    is_broken = header.bits_per_pixel == 0
    if is_plain and not is_broken:
        bitmap = pdfium.FPDFImageObj_GetBitmap(image.object)
        if bitmap:
            pdfium.FPDFBitmap_Destroy(bitmap)
        is_broken = not bitmap
    if (is_plain or ends_black) and not is_broken:
        is_broken = not _has_data(image.object, filters, header)
    if not is_broken:
        return None
    return (
        f"an image of {header.width} x {header.height} pixels "
        f"({' '.join(filters) or 'no filter'}) cannot be decoded"
    )


def _objects(
    num_objects: int, get: object, matrices: tuple[_Matrix, ...]
) -> Iterator[tuple[pdfium.FPDF_PAGEOBJECT, list[_Corner]]]:
    """Yield objects with the corners of images on the page; none for other objects."""
    assert callable(get)
    for index in range(num_objects):
        raw = get(index)
        kind = pdfium.FPDFPageObj_GetType(raw)
        yield raw, _corners(raw, matrices) if kind == pdfium.FPDF_PAGEOBJ_IMAGE else []
        if kind == pdfium.FPDF_PAGEOBJ_FORM and len(matrices) < _MAX_DEPTH:
            yield from _objects(
                pdfium.FPDFFormObj_CountObjects(raw),
                lambda part, form=raw: pdfium.FPDFFormObj_GetObject(form, part),
                (_matrix(raw), *matrices),
            )


def _corners(
    raw: pdfium.FPDF_PAGEOBJECT, matrices: tuple[_Matrix, ...]
) -> list[_Corner]:
    sides = [ctypes.c_float() for _ in range(4)]
    pdfium.FPDFPageObj_GetBounds(raw, *sides)
    left, bottom, right, top = (side.value for side in sides)
    corners = [(left, bottom), (left, top), (right, bottom), (right, top)]
    for a, b, c, d, e, f in matrices:
        corners = [(a * x + c * y + e, b * x + d * y + f) for x, y in corners]
    return corners


def _matrix(raw: pdfium.FPDF_PAGEOBJECT) -> _Matrix:
    matrix = pdfium.FS_MATRIX()
    pdfium.FPDFPageObj_GetMatrix(raw, matrix)
    return matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f


def _device_box(
    page: pypdfium2.PdfPage, width: int, height: int, corners: list[_Corner]
) -> Box:
    xs, ys = [], []
    for corner in corners:
        x, y = ctypes.c_int(), ctypes.c_int()
        pdfium.FPDF_PageToDevice(page, 0, 0, width, height, 0, *corner, x, y)
        xs.append(x.value)
        ys.append(y.value)
    # One pixel less on each side, where the edge is mixed with what lies around.
    return min(xs) + 1, min(ys) + 1, max(xs) - 1, max(ys) - 1


def _filters(raw: pdfium.FPDF_PAGEOBJECT) -> list[str]:
    names = []
    for index in range(pdfium.FPDFImageObj_GetImageFilterCount(raw)):
        num_bytes = pdfium.FPDFImageObj_GetImageFilter(raw, index, None, 0)
        name = ctypes.create_string_buffer(num_bytes)
        pdfium.FPDFImageObj_GetImageFilter(raw, index, name, num_bytes)
        names.append(name.value.decode("ascii", "replace")[:40])
    return names


def _has_data(
    raw: pdfium.FPDF_PAGEOBJECT,
    filters: list[str],
    header: pdfium.FPDF_IMAGEOBJ_METADATA,
) -> bool:
    """True unless more than half of an image's data are missing.

    pdfium draws what is missing black.
    """
    if filters[-1:] == ["JBIG2Decode"]:
        return has_jbig2_page(bytes(_image_data(raw, is_decoded=len(filters) > 1)))
    if _REPORTED.intersection(filters):
        return True
    wanted: int = (
        header.height * math.ceil(header.width * header.bits_per_pixel / 8) // 2
    )
    if filters == ["FlateDecode"]:
        return _inflates_to(memoryview(_image_data(raw)), wanted)
    num_bytes = pdfium.FPDFImageObj_GetImageDataRaw(raw, None, 0)
    if num_bytes > _MAX_DECODED_RAW_BYTES:
        return True
    num_decoded: int = pdfium.FPDFImageObj_GetImageDataDecoded(raw, None, 0)
    return bool(num_decoded >= wanted)


def _image_data(
    raw: pdfium.FPDF_PAGEOBJECT, *, is_decoded: bool = False
) -> ctypes.Array[ctypes.c_char]:
    """Return an image's data; `is_decoded` leaves only its image filter."""
    read = (
        pdfium.FPDFImageObj_GetImageDataDecoded
        if is_decoded
        else pdfium.FPDFImageObj_GetImageDataRaw
    )
    num_bytes = read(raw, None, 0)
    data = ctypes.create_string_buffer(num_bytes)
    read(raw, data, num_bytes)
    return data


def _inflates_to(data: memoryview, wanted: int) -> bool:
    """True if Flate data give at least so many bytes; unpacks no more than these."""
    stream = zlib.decompressobj()
    num_bytes = 0
    try:
        for start in range(0, len(data), _PIECE_BYTES):
            piece = bytes(data[start : start + _PIECE_BYTES])
            while piece and num_bytes < wanted:
                num_bytes += len(stream.decompress(piece, 1 << 20))
                piece = stream.unconsumed_tail
            if num_bytes >= wanted:
                return True
    except zlib.error:
        pass
    return num_bytes >= wanted
