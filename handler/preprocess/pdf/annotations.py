"""Prepare annotations and form fields so that drawing a page shows all of them.

chandra-ocr flattens pages before it draws them, and its weights know pages like these.
Flattening itself is not used: it drops annotations without an appearance and damages
the text of some pages. Instead every form field is turned into an annotation of a kind
that pdfium draws with the page, in its order, from the same appearance.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from mmap import mmap

import pypdfium2
import pypdfium2.raw as pdfium

from handler.preprocess.pdf.appearances import (
    num_lacking,
    plain_text,
    string_of,
    text_from,
    wide_string,
    write_appearance,
)
from handler.preprocess.pdf.field_tree import has_bounded_fields

__all__ = ["num_letters_not_drawn", "page_with_annotations"]

MAX_WRITTEN = 300
"""Annotations of a page that are given an appearance; pdfium draws the others."""

_NO_VIEW = 32
_WIDGET: int = pdfium.FPDF_ANNOT_WIDGET
_SUBTYPE = b"Subtype"
# pdfium draws a stamp from its appearance alone.
_STAMP = "Stamp"
# Its fields hold a value that their appearance must show.
_SHOWS_VALUE = (pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX)
_SHOWING = (
    pdfium.FPDF_PAGEOBJ_TEXT,
    pdfium.FPDF_PAGEOBJ_FORM,
    pdfium.FPDF_PAGEOBJ_IMAGE,
)


def page_with_annotations(
    data: mmap, document: pypdfium2.PdfDocument, number: int
) -> pypdfium2.PdfPage:
    """Load page `number`, counted from 1, so that drawing it shows all annotations.

    `data` is the PDF that `document` was opened from; the document is changed in
    memory. Raises PdfiumError for a page that cannot be loaded.
    """
    page = document[number - 1]
    if any(_widgets(page)):
        page = _with_appearances(data, document, page, number)
    for index, annotation in enumerate(_annotations(page)):
        flags = pdfium.FPDFAnnot_GetFlags(annotation)
        # Flattened pages show what is meant for print only.
        if flags & _NO_VIEW:
            pdfium.FPDFAnnot_SetFlags(annotation, flags & ~_NO_VIEW)
        if _is_widget(annotation):
            pdfium.FPDFAnnot_SetStringValue(annotation, _SUBTYPE, wide_string(_STAMP))
        elif index < MAX_WRITTEN:
            write_appearance(annotation)
    return page


def num_letters_not_drawn(page: pypdfium2.PdfPage) -> int:
    """Return the number of characters of annotations that are left out of the page."""
    annotations = islice(_annotations(page), MAX_WRITTEN)
    return sum(num_lacking(annotation) for annotation in annotations)


def _with_appearances(
    data: mmap, document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage, number: int
) -> pypdfium2.PdfPage:
    """Have pdfium write appearances that form fields lack, or that differ from values.

    pdfium writes those that are missing, and those that a form wants to be renewed.
    """
    if document.get_formtype() == pdfium.FORMTYPE_NONE:
        return page
    if not has_bounded_fields(data, document):
        return page
    page.close()
    document.init_forms()
    page = document[number - 1]
    stale = False
    for annotation in _widgets(page):
        has_rich_value = _takes_rich_value(document, annotation)
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
    """True for a field whose appearance shows nothing of its value."""
    env = document.formenv
    if env is None or _shows_something(annotation):
        return False
    if pdfium.FPDFAnnot_GetFormFieldType(env, annotation) not in _SHOWS_VALUE:
        return False
    value = text_from(partial(pdfium.FPDFAnnot_GetFormFieldValue, env, annotation))
    return bool(value.strip())


def _takes_rich_value(
    document: pypdfium2.PdfDocument, annotation: pdfium.FPDF_ANNOTATION
) -> bool:
    """Give a text field that has a value as rich text only the same as plain text.

    Returns whether it has one.
    """
    env = document.formenv
    if env is None or _shows_something(annotation):
        return False
    kind = pdfium.FPDFAnnot_GetFormFieldType(env, annotation)
    if kind != pdfium.FPDF_FORMFIELD_TEXTFIELD:
        return False
    if text_from(partial(pdfium.FPDFAnnot_GetFormFieldValue, env, annotation)).strip():
        return False
    text = plain_text(string_of(annotation, b"RV"))
    if text:
        pdfium.FPDFAnnot_SetStringValue(annotation, b"V", wide_string(text))
    return bool(text)


def _shows_something(annotation: pdfium.FPDF_ANNOTATION) -> bool:
    """True if the appearance has text, an image or a form within it."""
    return any(
        pdfium.FPDFPageObj_GetType(pdfium.FPDFAnnot_GetObject(annotation, index))
        in _SHOWING
        for index in range(pdfium.FPDFAnnot_GetObjectCount(annotation))
    )


def _widgets(page: pypdfium2.PdfPage) -> Iterator[pdfium.FPDF_ANNOTATION]:
    return filter(_is_widget, _annotations(page))


def _annotations(page: pypdfium2.PdfPage) -> Iterator[pdfium.FPDF_ANNOTATION]:
    """Yield the annotations of a page; each is closed when the next is taken."""
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
