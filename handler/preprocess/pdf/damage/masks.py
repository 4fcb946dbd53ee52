"""Check whether the masks of the images on a PDF page can be decoded."""

from __future__ import annotations

import re

import pypdfium2

from handler.preprocess.pdf.damage.images import (
    MAX_IMAGES,
    find_image_fault,
    iter_images,
)
from handler.preprocess.pdf.page_copy import PageCopy

__all__ = ["find_mask_fault"]

_MASK = re.compile(rb"/S?Mask\s+(\d+) 0 R")
_LENGTH = re.compile(rb"/Length \d+(?: 0 R)?")
# References in the dictionary of a mask. Their objects are not in the PDF of one image.
_REFERENCE = re.compile(rb"\d 0 R")
_SIDE = 100


def find_mask_fault(copy: PageCopy) -> str | None:
    """Return a description of the first damaged mask of an image, or None.

    pdfium renders an image with a damaged mask as transparent, and its API gives no
    access to masks. This function puts each mask on a page of its own as an image.
    Masks that refer to further objects, such as a color space, are not checked.
    """
    masks: dict[bytes, None] = {}
    for number in copy.find_by_subtype(b"Image"):
        masks |= dict.fromkeys(_MASK.findall(copy.get_text(number)))
    for mask in list(masks)[:MAX_IMAGES]:
        data = copy.get_stream(mask)
        if data is None:
            return "the mask of an image is missing"
        dictionary = _LENGTH.sub(b"/Length %d" % len(data), copy.get_text(mask))
        if _REFERENCE.search(dictionary):
            continue
        with pypdfium2.PdfDocument(
            _build_pdf_of_image(dictionary.strip(), data)
        ) as document:
            page = document[0]
            for image in iter_images(page, _SIDE, _SIDE):
                fault = find_image_fault(
                    page, image, has_single_color=True, has_black_lower_half=False
                )
                if fault is not None:
                    return f"in a mask, {fault}"
    return None


def _build_pdf_of_image(dictionary: bytes, data: bytes) -> bytes:
    """Return a PDF of one page with one image, without a cross-reference table.

    `dictionary` is that of the image, and `data` is its encoded stream.
    """
    contents = b"q %d 0 0 %d 0 0 cm /I Do Q" % (_SIDE, _SIDE)
    return (
        b"%%PDF-1.7\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n"
        b"2 0 obj\n<</Type/Pages/Kids[3 0 R]/Count 1>>\nendobj\n"
        b"3 0 obj\n<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]/Contents 4 0 R"
        b"/Resources<</XObject<</I 5 0 R>>>>>>\nendobj\n"
        b"4 0 obj\n<</Length %d>>stream\n%s\nendstream\nendobj\n"
        b"5 0 obj\n%sstream\n%s\nendstream\nendobj\ntrailer<</Root 1 0 R>>\n%%%%EOF"
        % (_SIDE, _SIDE, len(contents), contents, dictionary, data)
    )
