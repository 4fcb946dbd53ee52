"""Tell PDFs whose pages stand in for something else: XFA forms and portfolios."""

from __future__ import annotations

import re

import pypdfium2
import pypdfium2.raw as pdfium

from handler.preprocess.pdf.plain_copy import (
    object_in,
    objects_in,
    plain_copy,
    root_in,
)
from handler.schema import PageWarning

__all__ = ["kind_warnings"]

_FORM = re.compile(rb"/AcroForm\s*(\d+) 0 R")
_FIELDS = re.compile(rb"/Fields\s*(?:(\d+) 0 R|\[\s*([^\]\s]?))")


def kind_warnings(document: pypdfium2.PdfDocument) -> tuple[PageWarning, ...]:
    """Return `xfa_form` and `portfolio` warnings.

    A static XFA form has fields on real pages and gets none; nor do documents with
    attachments that are not presented as a portfolio, such as invoices with XML.
    """
    warnings = []
    if _is_dynamic_form(document):
        warnings.append(
            PageWarning(
                "xfa_form",
                "the PDF is a dynamic XFA form, whose fields are not on its pages; "
                "only the page that stands in for them is read: print the form to a "
                "PDF first",
            )
        )
    num_files = pdfium.FPDFDoc_GetAttachmentCount(document)
    if num_files > 0 and _is_collection(document):
        warnings.append(
            PageWarning(
                "portfolio",
                f"the PDF is a portfolio that holds {num_files} "
                f"file{'' if num_files == 1 else 's'}; only its cover is read: send "
                "the files one by one",
            )
        )
    return tuple(warnings)


def _is_dynamic_form(document: pypdfium2.PdfDocument) -> bool:
    """True for an XFA form that a viewer has to lay out itself.

    Either the catalog says so, or the PDF has no fields of its own.
    """
    kind = document.get_formtype()
    if kind != pdfium.FORMTYPE_XFA_FOREGROUND:
        return bool(kind == pdfium.FORMTYPE_XFA_FULL)
    objects, catalog = _catalog(document)
    reference = _FORM.search(catalog)
    form = object_in(objects, reference[1]) if reference else catalog
    fields = _FIELDS.search(form)
    if fields is None:
        # Without a catalog nothing is known.
        return bool(form)
    if fields[1] is None:
        return not fields[2]
    array = object_in(objects, fields[1]).partition(b"[")[2]
    return not array.partition(b"]")[0].strip()


def _is_collection(document: pypdfium2.PdfDocument) -> bool:
    return b"/Collection" in _catalog(document)[1]


def _catalog(
    document: pypdfium2.PdfDocument,
) -> tuple[dict[bytes, re.Match[bytes]], bytes]:
    """Return the objects of a PDF, and its catalog; b"" if that is not found."""
    copy = plain_copy(document)
    if copy is None:
        return {}, b""
    objects = objects_in(copy)
    return objects, root_in(copy, objects)
