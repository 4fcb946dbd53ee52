"""Tell PDFs whose pages stand in for something else: XFA forms and portfolios."""

from __future__ import annotations

import re

import pypdfium2
import pypdfium2.raw as pdfium

from handler.preprocess.pdf.plain_copy import objects_in, plain_copy
from handler.schema import PageWarning

__all__ = ["kind_warnings"]

_ROOT = re.compile(rb"/Root (\d+) 0 R")
_END_BYTES = 4096


def kind_warnings(document: pypdfium2.PdfDocument) -> tuple[PageWarning, ...]:
    """Return `xfa_form` and `portfolio` warnings.

    A static XFA form has real pages and gets none; nor do documents with attachments
    that are not presented as a portfolio, such as invoices with XML.
    """
    warnings = []
    # Full: the catalog says that a viewer has to lay out the form itself.
    if document.get_formtype() == pdfium.FORMTYPE_XFA_FULL:
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


def _is_collection(document: pypdfium2.PdfDocument) -> bool:
    copy = plain_copy(document)
    if copy is None:
        return False
    roots = _ROOT.findall(copy[-_END_BYTES:])
    if not roots:
        return False
    catalog = objects_in(copy).get(roots[-1])
    return catalog is not None and b"/Collection" in catalog[2]
