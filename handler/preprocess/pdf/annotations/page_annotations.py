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
    encode_wide_string,
    extract_plain_text,
    get_string,
    read_num_omitted_characters,
    read_wide_string,
    write_appearance,
)
from handler.preprocess.pdf.annotations.field_tree import has_bounded_fields

__all__ = ["count_omitted_characters", "load_page_with_annotations"]

MAX_ANNOTATIONS = 300
"""Number of annotations of a page that are considered for a missing appearance."""

# Flag of an annotation that is printed but not shown on a screen.
_NO_VIEW_FLAG = 32
_WIDGET: int = pdfium.FPDF_ANNOT_WIDGET
_SUBTYPE = b"Subtype"
# pdfium renders a stamp from its appearance only.
_STAMP = "Stamp"
# Types of form fields whose value must be visible in their appearance.
_VALUE_FIELD_TYPES = (pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX)
_VISIBLE_OBJECT_TYPES = (
    pdfium.FPDF_PAGEOBJ_TEXT,
    pdfium.FPDF_PAGEOBJ_FORM,
    pdfium.FPDF_PAGEOBJ_IMAGE,
)


def load_page_with_annotations(
    data: mmap, document: pypdfium2.PdfDocument, number: int
) -> pypdfium2.PdfPage:
    """Load page `number`, counted from 1, prepared to render all its annotations.

    Changes `document` in memory: form fields become stamps, annotations for print only
    become visible, and missing appearances are written. `data`, the content from which
    `document` was opened, is only read. Raises PdfiumError for a page that cannot be
    loaded.
    """
    page = document[number - 1]
    if any(_iter_widgets(page)):
        page = _complete_appearances(data, document, page, number)
    for index, annotation in enumerate(_iter_annotations(page)):
        flags = pdfium.FPDFAnnot_GetFlags(annotation)
        # Flattened pages show annotations that are meant for print only.
        if flags & _NO_VIEW_FLAG:
            pdfium.FPDFAnnot_SetFlags(annotation, flags & ~_NO_VIEW_FLAG)
        if _is_widget(annotation):
            pdfium.FPDFAnnot_SetStringValue(
                annotation, _SUBTYPE, encode_wide_string(_STAMP)
            )
        elif index < MAX_ANNOTATIONS:
            write_appearance(annotation)
    return page


def count_omitted_characters(page: pypdfium2.PdfPage) -> int:
    """Return the number of characters that the written appearances omit.

    `page` is a page from `load_page_with_annotations`. Helvetica, the font of these
    appearances, lacks the characters.
    """
    annotations = islice(_iter_annotations(page), MAX_ANNOTATIONS)
    return sum(read_num_omitted_characters(annotation) for annotation in annotations)


def _complete_appearances(
    data: mmap, document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage, number: int
) -> pypdfium2.PdfPage:
    """Let pdfium write the missing and outdated appearances of form fields.

    pdfium writes missing appearances, and all of them if the form requests it. This
    function first removes appearances that do not show the value of their field.

    Closes `page` and returns the page loaded again. Returns `page` itself, unchanged,
    if the document has no form or pdfium would take too long to expand its fields.
    """
    if document.get_formtype() == pdfium.FORMTYPE_NONE:
        return page
    if not has_bounded_fields(data, document):
        return page
    page.close()
    document.init_forms()
    page = document[number - 1]
    has_removed = False
    for annotation in _iter_widgets(page):
        has_rich_value = _copy_rich_value(document, annotation)
        if has_rich_value or _lacks_value(document, annotation):
            normal = pdfium.FPDF_ANNOT_APPEARANCEMODE_NORMAL
            pdfium.FPDFAnnot_SetAP(annotation, normal, None)
            has_removed = True
    if has_removed:
        page.close()
        page = document[number - 1]
    return page


def _lacks_value(
    document: pypdfium2.PdfDocument, annotation: pdfium.FPDF_ANNOTATION
) -> bool:
    """Return True if the appearance of a text or combo box field lacks its value.

    Such an appearance has no content. A field without a value needs none.
    """
    env = document.formenv
    if env is None or _has_visible_content(annotation):
        return False
    if pdfium.FPDFAnnot_GetFormFieldType(env, annotation) not in _VALUE_FIELD_TYPES:
        return False
    value = read_wide_string(
        partial(pdfium.FPDFAnnot_GetFormFieldValue, env, annotation)
    )
    return bool(value.strip())


def _copy_rich_value(
    document: pypdfium2.PdfDocument, annotation: pdfium.FPDF_ANNOTATION
) -> bool:
    """Write the text of a field's rich text value to its plain value.

    Does so only for a text field that has no plain value and whose appearance has no
    content. Returns True if a value was written.
    """
    env = document.formenv
    if env is None or _has_visible_content(annotation):
        return False
    kind = pdfium.FPDFAnnot_GetFormFieldType(env, annotation)
    if kind != pdfium.FPDF_FORMFIELD_TEXTFIELD:
        return False
    if read_wide_string(
        partial(pdfium.FPDFAnnot_GetFormFieldValue, env, annotation)
    ).strip():
        return False
    text = extract_plain_text(get_string(annotation, b"RV"))
    if text:
        pdfium.FPDFAnnot_SetStringValue(annotation, b"V", encode_wide_string(text))
    return bool(text)


def _has_visible_content(annotation: pdfium.FPDF_ANNOTATION) -> bool:
    """Return True if an appearance has text, an image or a form XObject."""
    return any(
        pdfium.FPDFPageObj_GetType(pdfium.FPDFAnnot_GetObject(annotation, index))
        in _VISIBLE_OBJECT_TYPES
        for index in range(pdfium.FPDFAnnot_GetObjectCount(annotation))
    )


def _iter_widgets(page: pypdfium2.PdfPage) -> Iterator[pdfium.FPDF_ANNOTATION]:
    return filter(_is_widget, _iter_annotations(page))


def _iter_annotations(page: pypdfium2.PdfPage) -> Iterator[pdfium.FPDF_ANNOTATION]:
    """Yield the annotations of a page; each is closed when the next is requested."""
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
