"""Images on a PDF page, and the check whether pdfium can decode them."""

from __future__ import annotations

import ctypes
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pypdfium2
import pypdfium2.raw as pdfium

from handler.preprocess.pdf.damage.jbig2 import has_jbig2_page
from handler.rotation import Box

__all__ = ["MAX_IMAGES", "PageImage", "find_image_fault", "page_images"]

_Matrix = tuple[float, float, float, float, float, float]
_Corner = tuple[float, float]

MAX_OBJECTS = 1000
"""Number of objects that are searched for images. Drawings may have 100,000 objects,
which cost a microsecond each. The images of scans are among the first objects."""
MAX_IMAGES = 50
_MAX_DEPTH = 4
# pdfium does not limit the size of decoded data. One byte of Flate data expands to at
# most 1,032 bytes.
_MAX_DECODED_RAW_BYTES = 64 << 10
_PIECE_BYTES = 4096
# pdfium reports decoding errors of DCT and JPX data. Errors in CCITT data cannot be
# detected.
_REPORTED = frozenset({"DCTDecode", "JPXDecode", "CCITTFaxDecode"})
# pdfium reads even the header of these only by decoding all data.
_SLOW = frozenset({"JPXDecode", "JBIG2Decode"})


@dataclass(frozen=True, slots=True)
class PageImage:
    """An image object of pdfium and its bounding box."""

    object: pdfium.FPDF_PAGEOBJECT
    box: Box
    """Bounding box in pixels of the rendered page."""


def page_images(
    page: pypdfium2.PdfPage, width: int, height: int
) -> Iterator[PageImage]:
    """Yield the images among the first objects of a page.

    `width` and `height` are those of the rendered page in pixels.
    """
    top = _iter_objects(
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


def find_image_fault(
    page: pypdfium2.PdfPage, image: PageImage, *, is_plain: bool, ends_black: bool
) -> str | None:
    """Return a description of the damage to an image; None if it was rendered.

    `is_plain` is true if the image's area on the page has a single color, and
    `ends_black` if the lower half of the area is black, because pdfium renders missing
    data black. Other areas show the image or objects on top of it; for these only the
    header of the image is checked.
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


def _iter_objects(
    num_objects: int, get: object, matrices: tuple[_Matrix, ...]
) -> Iterator[tuple[pdfium.FPDF_PAGEOBJECT, list[_Corner]]]:
    """Yield objects, with the corners of images in page coordinates.

    Other objects have no corners. Form XObjects are searched recursively.
    """
    assert callable(get)
    for index in range(num_objects):
        raw = get(index)
        kind = pdfium.FPDFPageObj_GetType(raw)
        yield raw, _corners(raw, matrices) if kind == pdfium.FPDF_PAGEOBJ_IMAGE else []
        if kind == pdfium.FPDF_PAGEOBJ_FORM and len(matrices) < _MAX_DEPTH:
            yield from _iter_objects(
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
    # Exclude the edge pixels, which are blended with the surroundings.
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

    pdfium renders missing data black.
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
    """Return the data of an image.

    With `is_decoded`, all filters except the image codec are applied.
    """
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
    """True if Flate data decompress to at least `wanted` bytes; stops there."""
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
