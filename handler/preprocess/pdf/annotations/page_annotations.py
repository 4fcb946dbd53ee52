"""Preparation of annotations and form fields, so that pdfium renders all of them.

chandra-ocr flattens pages before it renders them, and its weights were trained with
such pages. This module does not flatten, because flattening drops annotations without
an appearance and damages the text of some pages. Instead it converts every form field
to a stamp annotation. pdfium renders stamps with the page, in their order, from the
same appearance.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from mmap import mmap

import pypdfium2
import pypdfium2.raw as pdfium

from handler.preprocess.pdf.annotations.appearances import (
    get_string,
    num_missing_characters,
    plain_text,
    read_wide_string,
    wide_string,
    write_appearance,
)
from handler.preprocess.pdf.annotations.field_tree import has_bounded_fields

__all__ = ["count_missing_characters", "load_page_with_annotations"]

MAX_WRITTEN = 300
"""Number of annotations of a page for which a missing appearance is written."""

_NO_VIEW = 32
_WIDGET: int = pdfium.FPDF_ANNOT_WIDGET
_SUBTYPE = b"Subtype"
# pdfium renders a stamp from its appearance only.
_STAMP = "Stamp"
# Types of form fields whose value must be visible in their appearance.
_SHOWS_VALUE = (pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX)
_SHOWING = (
    pdfium.FPDF_PAGEOBJ_TEXT,
    pdfium.FPDF_PAGEOBJ_FORM,
    pdfium.FPDF_PAGEOBJ_IMAGE,
)


def load_page_with_annotations(
    data: mmap, document: pypdfium2.PdfDocument, number: int
) -> pypdfium2.PdfPage:
    """Load page `number`, counted from 1, prepared to render all its annotations.

    `data` is the content from which `document` was opened; the document is changed in
    memory. Raises PdfiumError for a page that cannot be loaded.
    """
    page = document[number - 1]
    if any(_iter_widgets(page)):
        page = _complete_appearances(data, document, page, number)
    for index, annotation in enumerate(_iter_annotations(page)):
        flags = pdfium.FPDFAnnot_GetFlags(annotation)
        # Flattened pages show annotations that are meant for print only.
        if flags & _NO_VIEW:
            pdfium.FPDFAnnot_SetFlags(annotation, flags & ~_NO_VIEW)
        if _is_widget(annotation):
            pdfium.FPDFAnnot_SetStringValue(annotation, _SUBTYPE, wide_string(_STAMP))
        elif index < MAX_WRITTEN:
            write_appearance(annotation)
    return page


def count_missing_characters(page: pypdfium2.PdfPage) -> int:
    """Return the number of characters of annotations that no font can render."""
    annotations = islice(_iter_annotations(page), MAX_WRITTEN)
    return sum(num_missing_characters(annotation) for annotation in annotations)


def _complete_appearances(
    data: mmap, document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage, number: int
) -> pypdfium2.PdfPage:
    """Let pdfium write the missing and outdated appearances of form fields.

    pdfium writes missing appearances, and all of them if the form requests it. This
    function removes appearances that do not show the value of their field first.
    """
    if document.get_formtype() == pdfium.FORMTYPE_NONE:
        return page
    if not has_bounded_fields(data, document):
        return page
    page.close()
    document.init_forms()
    page = document[number - 1]
    stale = False
    for annotation in _iter_widgets(page):
        has_rich_value = _copy_rich_value(document, annotation)
        if has_rich_value or _hides_value(document, annotation):
            normal = pdfium.FPDF_ANNOT_APPEARANCEMODE_NORMAL
            pdfium.FPDFAnnot_SetAP(annotation, normal, None)
            stale = True
    if stale:
        page.close()
        page = document[number - 1]
    return page


def _hides_value(
    document: pypdfium2.PdfDocument, annotation: pdfium.FPDF_ANNOTATION
) -> bool:
    """True for a field that has a value and an appearance without any content."""
    env = document.formenv
    if env is None or _shows_something(annotation):
        return False
    if pdfium.FPDFAnnot_GetFormFieldType(env, annotation) not in _SHOWS_VALUE:
        return False
    value = read_wide_string(
        partial(pdfium.FPDFAnnot_GetFormFieldValue, env, annotation)
    )
    return bool(value.strip())


def _copy_rich_value(
    document: pypdfium2.PdfDocument, annotation: pdfium.FPDF_ANNOTATION
) -> bool:
    """Copy the rich text value of a text field without a plain value to its value.

    Returns True if the field has such a rich text value.
    """
    env = document.formenv
    if env is None or _shows_something(annotation):
        return False
    kind = pdfium.FPDFAnnot_GetFormFieldType(env, annotation)
    if kind != pdfium.FPDF_FORMFIELD_TEXTFIELD:
        return False
    if read_wide_string(
        partial(pdfium.FPDFAnnot_GetFormFieldValue, env, annotation)
    ).strip():
        return False
    text = plain_text(get_string(annotation, b"RV"))
    if text:
        pdfium.FPDFAnnot_SetStringValue(annotation, b"V", wide_string(text))
    return bool(text)


def _shows_something(annotation: pdfium.FPDF_ANNOTATION) -> bool:
    """True if the appearance has text, an image or a form XObject."""
    return any(
        pdfium.FPDFPageObj_GetType(pdfium.FPDFAnnot_GetObject(annotation, index))
        in _SHOWING
        for index in range(pdfium.FPDFAnnot_GetObjectCount(annotation))
    )


def _iter_widgets(page: pypdfium2.PdfPage) -> Iterator[pdfium.FPDF_ANNOTATION]:
    return filter(_is_widget, _iter_annotations(page))


def _iter_annotations(page: pypdfium2.PdfPage) -> Iterator[pdfium.FPDF_ANNOTATION]:
    """Yield the annotations of a page. Each is closed when the next is requested."""
    for index in range(pdfium.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        if annotation:
            try:
                yield annotation
            finally:
                pdfium.FPDFPage_CloseAnnot(annotation)


def _is_widget(annotation: pdfium.FPDF_ANNOTATION) -> bool:
    subtype: int = pdfium.FPDFAnnot_GetSubtype(annotation)
    return subtype == _WIDGET
