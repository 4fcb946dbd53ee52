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

__all__ = ["MAX_IMAGES", "PageImage", "find_image_fault", "iter_images"]

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
# Filters whose data are not checked here: pdfium itself reports decoding errors of DCT
# and JPX data, and errors in CCITT data cannot be detected.
_UNCHECKED_FILTERS = frozenset({"DCTDecode", "JPXDecode", "CCITTFaxDecode"})
# Filters for which pdfium decodes all data even if only the header is requested.
_SLOW_FILTERS = frozenset({"JPXDecode", "JBIG2Decode"})


@dataclass(frozen=True, slots=True)
class PageImage:
    """An image object of pdfium and its bounding box."""

    object: pdfium.FPDF_PAGEOBJECT
    box: Box
    """Bounding box in pixels of the rendered page."""


def iter_images(
    page: pypdfium2.PdfPage, width: int, height: int
) -> Iterator[PageImage]:
    """Yield the images among the first objects of a page, including form XObjects.

    Ends after `MAX_OBJECTS` objects or `MAX_IMAGES` images. `width` and `height` are
    those of the rendered page in pixels.
    """
    top = _iter_objects(
        pdfium.FPDFPage_CountObjects(page),
        lambda index: pdfium.FPDFPage_GetObject(page, index),
        (),
    )
    num_images = 0
    for num_objects, (raw, corners) in enumerate(top, start=1):
        if corners:
            yield PageImage(raw, _pixel_box(page, width, height, corners))
            num_images += 1
        if num_objects >= MAX_OBJECTS or num_images >= MAX_IMAGES:
            return


def find_image_fault(
    page: pypdfium2.PdfPage,
    image: PageImage,
    *,
    has_single_color: bool,
    has_black_lower_half: bool,
) -> str | None:
    """Return a description of the damage to an image; None if no damage is found.

    `has_single_color` is true if the image's area on the page has a single color, and
    `has_black_lower_half` if the lower half of the area is black, because pdfium
    renders missing data black. Other areas show the image or objects on top of it; for
    these only the header of the image is checked.
    """
    filters = _list_filters(image.object)
    if not has_single_color and _SLOW_FILTERS.intersection(filters):
        return None
    header = pdfium.FPDF_IMAGEOBJ_METADATA()
    pdfium.FPDFImageObj_GetImageMetadata(image.object, page, header)
    is_broken = header.bits_per_pixel == 0
    if has_single_color and not is_broken:
        bitmap = pdfium.FPDFImageObj_GetBitmap(image.object)
        if bitmap:
            pdfium.FPDFBitmap_Destroy(bitmap)
        is_broken = not bitmap
    if (has_single_color or has_black_lower_half) and not is_broken:
        is_broken = not _has_half_of_data(image.object, filters, header)
    if not is_broken:
        return None
    return (
        f"an image of {header.width} x {header.height} pixels "
        f"({' '.join(filters) or 'no filter'}) cannot be decoded"
    )


def _iter_objects(
    num_objects: int, get: object, matrices: tuple[_Matrix, ...]
) -> Iterator[tuple[pdfium.FPDF_PAGEOBJECT, list[_Corner]]]:
    """Yield objects, each with the corners of its image in page coordinates.

    An object that is not an image has no corners. Form XObjects are searched
    recursively. `get` returns the object at an index from 0, and `matrices` are those
    of the form XObjects that contain it, the innermost first.
    """
    assert callable(get)
    for index in range(num_objects):
        raw = get(index)
        kind = pdfium.FPDFPageObj_GetType(raw)
        yield (
            raw,
            _image_corners(raw, matrices) if kind == pdfium.FPDF_PAGEOBJ_IMAGE else [],
        )
        if kind == pdfium.FPDF_PAGEOBJ_FORM and len(matrices) < _MAX_DEPTH:
            yield from _iter_objects(
                pdfium.FPDFFormObj_CountObjects(raw),
                lambda part, form=raw: pdfium.FPDFFormObj_GetObject(form, part),
                (_get_matrix(raw), *matrices),
            )


def _image_corners(
    raw: pdfium.FPDF_PAGEOBJECT, matrices: tuple[_Matrix, ...]
) -> list[_Corner]:
    """Return the four corners of an image in page coordinates."""
    sides = [ctypes.c_float() for _ in range(4)]
    pdfium.FPDFPageObj_GetBounds(raw, *sides)
    left, bottom, right, top = (side.value for side in sides)
    corners = [(left, bottom), (left, top), (right, bottom), (right, top)]
    for a, b, c, d, e, f in matrices:
        corners = [(a * x + c * y + e, b * x + d * y + f) for x, y in corners]
    return corners


def _get_matrix(raw: pdfium.FPDF_PAGEOBJECT) -> _Matrix:
    matrix = pdfium.FS_MATRIX()
    pdfium.FPDFPageObj_GetMatrix(raw, matrix)
    return matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f


def _pixel_box(
    page: pypdfium2.PdfPage, width: int, height: int, corners: list[_Corner]
) -> Box:
    """Return the pixels within a box given by its corners in page coordinates."""
    xs, ys = [], []
    for corner in corners:
        x, y = ctypes.c_int(), ctypes.c_int()
        pdfium.FPDF_PageToDevice(page, 0, 0, width, height, 0, *corner, x, y)
        xs.append(x.value)
        ys.append(y.value)
    # Exclude the edge pixels, which are blended with the surroundings.
    return min(xs) + 1, min(ys) + 1, max(xs) - 1, max(ys) - 1


def _list_filters(raw: pdfium.FPDF_PAGEOBJECT) -> list[str]:
    """Return the names of an image's filters in the order of decoding."""
    names = []
    for index in range(pdfium.FPDFImageObj_GetImageFilterCount(raw)):
        num_bytes = pdfium.FPDFImageObj_GetImageFilter(raw, index, None, 0)
        name = ctypes.create_string_buffer(num_bytes)
        pdfium.FPDFImageObj_GetImageFilter(raw, index, name, num_bytes)
        names.append(name.value.decode("ascii", "replace")[:40])
    return names


def _has_half_of_data(
    raw: pdfium.FPDF_PAGEOBJECT,
    filters: list[str],
    header: pdfium.FPDF_IMAGEOBJ_METADATA,
) -> bool:
    """Return True unless at least half of an image's data are missing.

    pdfium renders missing data black. JBIG2 data must be complete instead. Returns True
    also for data that cannot be checked.
    """
    if filters[-1:] == ["JBIG2Decode"]:
        return has_jbig2_page(bytes(_read_image_data(raw, is_decoded=len(filters) > 1)))
    if _UNCHECKED_FILTERS.intersection(filters):
        return True
    min_bytes: int = (
        header.height * math.ceil(header.width * header.bits_per_pixel / 8) // 2
    )
    if filters == ["FlateDecode"]:
        return _inflates_to_at_least(memoryview(_read_image_data(raw)), min_bytes)
    num_bytes = pdfium.FPDFImageObj_GetImageDataRaw(raw, None, 0)
    if num_bytes > _MAX_DECODED_RAW_BYTES:
        return True
    num_decoded: int = pdfium.FPDFImageObj_GetImageDataDecoded(raw, None, 0)
    return bool(num_decoded >= min_bytes)


def _read_image_data(
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


def _inflates_to_at_least(data: memoryview, min_bytes: int) -> bool:
    """Return True if Flate data have at least `min_bytes`, even if damaged later."""
    stream = zlib.decompressobj()
    num_bytes = 0
    try:
        for start in range(0, len(data), _PIECE_BYTES):
            piece = bytes(data[start : start + _PIECE_BYTES])
            while piece and num_bytes < min_bytes:
                num_bytes += len(stream.decompress(piece, 1 << 20))
                piece = stream.unconsumed_tail
            if num_bytes >= min_bytes:
                return True
    except zlib.error:
        pass
    return num_bytes >= min_bytes
