"""Detection of parts of a PDF page that pdfium could not render.

pdfium reports no errors while it renders. This module searches a page for images that
cannot be decoded. If the page has no objects or no ink, it checks the content streams.
"""

from __future__ import annotations

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from handler.errors import UnreadableDocumentError
from handler.preprocess.pdf.annotations.page_annotations import count_omitted_characters
from handler.preprocess.pdf.damage.contents import find_contents_fault
from handler.preprocess.pdf.damage.images import find_image_fault, iter_images
from handler.preprocess.pdf.damage.masks import find_mask_fault
from handler.preprocess.pdf.page_copy import copy_page
from handler.rotation import Box
from handler.schema import PageWarning

__all__ = ["damage_warnings"]

_MAX_COLOR_SPREAD = 8
"""Largest difference between the pixels of an area without ink, in levels of 255."""
_MAX_BLACK = 32
_STRIP_ROWS = 32


def damage_warnings(
    document: pypdfium2.PdfDocument,
    page: pypdfium2.PdfPage,
    number: int,
    image: Image.Image,
) -> tuple[PageWarning, ...]:
    """Return a `not_drawn` warning if a part of the rendered page is missing, else ().

    `image` is the whole of page `number`, counted from 1, as rendered by pdfium. Raises
    UnreadableDocumentError if a part is missing and the rest of the page has no ink.
    """
    faults: list[str] = []
    missing_boxes: list[Box] = []
    may_be_masked = False
    for item in iter_images(page, image.width, image.height):
        box = _clip_to_page(item.box, image)
        if box is None:
            continue
        has_single_color = _has_single_color(image, box)
        has_black_lower_half = has_single_color or _has_black_lower_half(image, box)
        fault = find_image_fault(
            page,
            item,
            has_single_color=has_single_color,
            has_black_lower_half=has_black_lower_half,
        )
        if fault is not None:
            faults.append(fault)
            if has_single_color:
                missing_boxes.append(box)
        may_be_masked = may_be_masked or (has_single_color and fault is None)
    has_objects = pdfium.FPDFPage_CountObjects(page) > 0
    may_lack_contents = not has_objects or _has_single_color(image, (0, 0, *image.size))
    if may_be_masked or may_lack_contents:
        copy = copy_page(document, number)
        if copy is not None and may_be_masked:
            faults.append(find_mask_fault(copy) or "")
        if copy is not None and may_lack_contents:
            fault = find_contents_fault(document, number, copy, has_objects=has_objects)
            faults.append(fault or "")
    if num_omitted := count_omitted_characters(page):
        faults.append(f"{num_omitted} characters of annotations have no font")
    faults = list(filter(None, faults))
    if not faults:
        return ()
    detail = "; ".join(list(dict.fromkeys(faults))[:3])
    rest = image.copy()
    for box in missing_boxes:
        left, top, right, bottom = box
        # Include the edge, whose pixels are blended with the surroundings.
        rest.paste((255, 255, 255), (left - 3, top - 3, right + 3, bottom + 3))
    if _has_single_color(rest, (0, 0, *rest.size)):
        raise UnreadableDocumentError(f"page {number} cannot be rendered: {detail}")
    return (PageWarning("not_drawn", f"a part of the page is missing: {detail}"),)


def _clip_to_page(box: Box, image: Image.Image) -> Box | None:
    """Clip a box to the page; return None if nothing of it is on the page."""
    left, top, right, bottom = box
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, image.width), min(bottom, image.height)
    return (left, top, right, bottom) if left < right and top < bottom else None


def _has_black_lower_half(image: Image.Image, box: Box) -> bool:
    """Return True if the lower half is black, as pdfium renders missing data."""
    left, top, right, bottom = box
    corner = image.getpixel((right - 1, bottom - 1))
    assert isinstance(corner, tuple)
    return max(corner) < _MAX_BLACK and _has_single_color(
        image, (left, (top + bottom) // 2, right, bottom)
    )


def _has_single_color(image: Image.Image, box: Box) -> bool:
    """Return True if all pixels of an area have about the same color."""
    # The rows are checked in strips, so that an area with ink is decided early.

    left, first, right, last = box
    low, high = [255] * 3, [0] * 3
    for top in range(first, last, _STRIP_ROWS):
        strip = image.crop((left, top, right, min(top + _STRIP_ROWS, last)))
        bands = strip.getextrema()
        for index, band in enumerate(bands):
            assert isinstance(band, tuple)
            low[index] = min(low[index], int(band[0]))
            high[index] = max(high[index], int(band[1]))
        if any(b - a > _MAX_COLOR_SPREAD for a, b in zip(low, high, strict=True)):
            return False
    return True
