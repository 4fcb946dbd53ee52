"""Detection of PDFs whose pages are placeholders: XFA forms and portfolios."""

from __future__ import annotations

import re

import pypdfium2
import pypdfium2.raw as pdfium

from handler.preprocess.pdf.plain_copy import (
    build_plain_copy,
    get_catalog_text,
    get_object_text,
    parse_objects,
)
from handler.schema import PageWarning

__all__ = ["placeholder_warnings"]

_FORM = re.compile(rb"/AcroForm\s*(\d+) 0 R")
_FIELDS = re.compile(rb"/Fields\s*(?:(\d+) 0 R|\[\s*([^\]\s]?))")


def placeholder_warnings(document: pypdfium2.PdfDocument) -> tuple[PageWarning, ...]:
    """Return an `xfa_form` and a `portfolio` warning, each if it applies.

    A static XFA form has its fields on real pages and gets no warning. Neither does a
    document with attachments that is not a portfolio, such as an invoice with XML.
    """
    warnings = []
    if _is_dynamic_form(document):
        warnings.append(
            PageWarning(
                "xfa_form",
                "the PDF is a dynamic XFA form, whose fields are not on its pages; "
                "only its placeholder page is read: print the form to a PDF first",
            )
        )
    num_files = pdfium.FPDFDoc_GetAttachmentCount(document)
    if num_files > 0 and _has_collection(document):
        warnings.append(
            PageWarning(
                "portfolio",
                f"the PDF is a portfolio of {num_files} "
                f"file{'' if num_files == 1 else 's'}; only its cover page is read: "
                "send the files one by one",
            )
        )
    return tuple(warnings)


def _is_dynamic_form(document: pypdfium2.PdfDocument) -> bool:
    """Return True for an XFA form that a viewer has to lay out itself.

    The catalog says so, or the form has no fields.
    """
    kind = document.get_formtype()
    if kind != pdfium.FORMTYPE_XFA_FOREGROUND:
        return bool(kind == pdfium.FORMTYPE_XFA_FULL)
    objects, catalog = _find_document_catalog(document)
    reference = _FORM.search(catalog)
    form = get_object_text(objects, reference[1]) if reference else catalog
    fields = _FIELDS.search(form)
    if fields is None:
        # An empty value means that the form or the catalog was not found.
        return bool(form)
    if fields[1] is None:
        return not fields[2]
    array = get_object_text(objects, fields[1]).partition(b"[")[2]
    return not array.partition(b"]")[0].strip()


def _has_collection(document: pypdfium2.PdfDocument) -> bool:
    """Return True if the catalog has /Collection, which makes the PDF a portfolio."""
    return b"/Collection" in _find_document_catalog(document)[1]


def _find_document_catalog(
    document: pypdfium2.PdfDocument,
) -> tuple[dict[bytes, re.Match[bytes]], bytes]:
    """Return the objects of a PDF by number, and the text of its catalog.

    The text is b"" if the catalog is missing, or if the PDF cannot be copied.
    """
    copy = build_plain_copy(document)
    if copy is None:
        return {}, b""
    objects = parse_objects(copy)
    return objects, get_catalog_text(copy, objects)
