"""Tests of warnings about XFA forms and portfolios."""

from __future__ import annotations

import pytest

from tests.documents import pdf, pdf_of_objects
from tests.handler.preprocess.reading import inspect_content

PAGE_OBJECTS = (
    b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
    b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>",
)
ATTACHMENT = (
    b"<</Type/Filespec/F(a.txt)/UF(a.txt)/EF<</F 5 0 R>>>>",
    b"<</Type/EmbeddedFile/Length 2>>\nstream\nhi\nendstream",
)
XFA_STREAM = b"<</Length 11>>\nstream\n<xdp></xdp>\nendstream"
ATTACHMENT_NAMES = b"/Names<</EmbeddedFiles<</Names[(a.txt)4 0 R]>>>>"


def catalog(extra: bytes) -> bytes:
    return b"<</Type/Catalog/Pages 2 0 R%s>>" % extra


def warning_codes(content: bytes) -> list[str]:
    return [warning.code for warning in inspect_content(content).warnings]


def test_dynamic_xfa_form_has_a_warning():
    form = b"/NeedsRendering true/AcroForm<</Fields[]/XFA 4 0 R>>"

    assert warning_codes(pdf_of_objects(catalog(form), *PAGE_OBJECTS, XFA_STREAM)) == [
        "xfa_form"
    ]


@pytest.mark.parametrize(
    ("form", "objects"),
    [
        (b"<</Fields[]/XFA 4 0 R>>", ()),
        (b"<</XFA 4 0 R>>", ()),
        (b"5 0 R", (b"<</Fields [ ]/XFA 4 0 R>>",)),
        (b"5 0 R", (b"<</Fields 6 0 R/XFA[(template)4 0 R]>>", b"[ ]")),
    ],
    ids=["empty", "none", "indirect form", "indirect fields"],
)
def test_xfa_form_without_fields_has_a_warning(form, objects):
    content = pdf_of_objects(
        catalog(b"/AcroForm " + form), *PAGE_OBJECTS, XFA_STREAM, *objects
    )

    assert warning_codes(content) == ["xfa_form"]


@pytest.mark.parametrize("fields", [b"[5 0 R]", b"6 0 R"])
def test_static_xfa_form_has_no_warning(fields):
    form = b"/AcroForm<</Fields %s/XFA 4 0 R>>" % fields
    field = b"<</FT/Tx/T(name)>>"

    content = pdf_of_objects(
        catalog(form), *PAGE_OBJECTS, XFA_STREAM, field, b"[5 0 R]"
    )

    assert warning_codes(content) == []


def test_portfolio_has_a_warning():
    collection = b"/Collection<</Type/Collection/View/D>>" + ATTACHMENT_NAMES

    warnings = inspect_content(
        pdf_of_objects(catalog(collection), *PAGE_OBJECTS, *ATTACHMENT)
    ).warnings

    assert [warning.code for warning in warnings] == ["portfolio"]
    assert "1 file;" in warnings[0].detail


def test_document_with_attachment_has_no_warning():
    assert (
        warning_codes(
            pdf_of_objects(catalog(ATTACHMENT_NAMES), *PAGE_OBJECTS, *ATTACHMENT)
        )
        == []
    )


def test_plain_document_has_no_warning():
    assert warning_codes(pdf()) == []
