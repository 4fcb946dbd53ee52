"""Form fields and annotations are shown as on a flattened page, and more."""

from __future__ import annotations

import time

import pytest

from tests.documents import pdf_of_objects
from tests.handler.preprocess.reading import darkest, page_of

FONT = b"<</H<</Type/Font/Subtype/Type1/BaseFont/Helvetica-Bold>>>>"
TEXT = b"/Tx BMC BT /H 40 Tf 2 10 Td (XXXX) Tj ET EMC"
EMPTY = b"/Tx BMC EMC"
BLACK = b"0 g 0 0 160 60 re f"
WHITE = b"1 g 0 0 160 60 re f"


def form_pdf(
    *annotations: bytes,
    appearances: tuple[bytes, ...] = (),
    contents: bytes = b"",
    has_form: bool = True,
) -> bytes:
    """One page of 200 x 200 points; appearances are objects 10, 11, ..."""
    numbers = range(5, 5 + len(annotations))
    references = b" ".join(b"%d 0 R" % n for n in numbers)
    form = b"/AcroForm<</Fields[%s]/DA(/H 40 Tf 0 g)/DR<</Font%s>>>>" % (
        references,
        FONT,
    )
    objects = [
        b"<</Type/Catalog/Pages 2 0 R%s>>" % (form if has_form else b""),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R"
        b"/Annots[%s]>>" % references,
        b"<</Length %d>>\nstream\n%s\nendstream" % (len(contents), contents),
        *annotations,
        *[b"null"] * (5 - len(annotations)),
    ]
    for appearance in appearances:
        objects.append(
            b"<</Type/XObject/Subtype/Form/BBox[0 0 160 60]/Resources<</Font%s>>"
            b"/Length %d>>\nstream\n%s\nendstream" % (FONT, len(appearance), appearance)
        )
    return pdf_of_objects(*objects)


def field(extra: bytes, *, kind: bytes = b"Tx", flags: int = 4) -> bytes:
    """A form field in the upper half of the page."""
    return (
        b"<</Type/Annot/Subtype/Widget/FT/%s/T(name)/F %d/P 3 0 R"
        b"/Rect[20 120 180 180]/DA(/H 40 Tf 0 g)%s>>" % (kind, flags, extra)
    )


def upper(content: bytes) -> int:
    return darkest(page_of(content), 0.1, 0.4)


def test_field_that_no_form_lists_is_drawn():
    content = form_pdf(field(b"/AP<</N 10 0 R>>"), appearances=(TEXT,), has_form=False)

    assert upper(content) < 80


def test_field_without_appearance_shows_its_value():
    assert upper(form_pdf(field(b"/V(XXXX)"))) < 80


def test_field_with_empty_appearance_shows_its_value():
    content = form_pdf(field(b"/V(XXXX)/AP<</N 10 0 R>>"), appearances=(EMPTY,))

    assert upper(content) < 80


def test_empty_field_stays_empty():
    content = form_pdf(field(b"/V()/AP<</N 10 0 R>>"), appearances=(EMPTY,))

    assert upper(content) == 255


def test_field_for_print_only_is_drawn():
    content = form_pdf(field(b"/AP<</N 10 0 R>>", flags=36), appearances=(TEXT,))

    assert upper(content) < 80


def test_hidden_field_is_not_drawn():
    content = form_pdf(field(b"/AP<</N 10 0 R>>", flags=6), appearances=(TEXT,))

    assert upper(content) == 255


def test_button_that_is_off_gets_no_frame():
    button = field(b"/AS/Off/AP<</N<</On 10 0 R>>>>", kind=b"Btn")

    assert upper(form_pdf(button, appearances=(BLACK,))) == 255


def test_checked_button_shows_its_mark():
    button = field(b"/V/On/AS/On/AP<</N<</On 10 0 R>>>>", kind=b"Btn")

    assert upper(form_pdf(button, appearances=(BLACK,))) < 80


def test_annotation_above_a_field_covers_it():
    stamp = (
        b"<</Type/Annot/Subtype/Stamp/F 4/P 3 0 R/Rect[20 120 180 180]"
        b"/AP<</N 11 0 R>>>>"
    )
    content = form_pdf(field(b"/AP<</N 10 0 R>>"), stamp, appearances=(BLACK, WHITE))

    assert upper(content) > 200


@pytest.mark.parametrize("subtype", [b"Square", b"Circle"])
def test_shape_without_appearance_is_drawn(subtype):
    shape = (
        b"<</Type/Annot/Subtype/%s/F 4/P 3 0 R/Rect[20 120 180 180]/C[0 0 0]"
        b"/IC[0 0 0]>>" % subtype
    )

    assert upper(form_pdf(shape)) < 80


def test_text_of_the_page_stays_below_its_fields():
    """Flattening damages the fonts of some pages."""
    contents = b"0 g 0 0 200 60 re f"
    content = form_pdf(
        field(b"/AP<</N 10 0 R>>"), appearances=(TEXT,), contents=contents
    )

    assert darkest(page_of(content), 0.75, 0.95) < 80


def test_fields_that_expand_without_bound_cost_little():
    """Each of 24 fields names the next one twice: 16 million for pdfium."""
    chain = [
        b"<</Kids[%d 0 R %d 0 R]/Parent %d 0 R>>" % (n + 1, n + 1, n - 1)
        for n in range(4, 28)
    ]
    content = pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[4 0 R]>>>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Annots[28 0 R]>>",
        *chain,
        b"<</Subtype/Widget/FT/Tx/T(x)/V(X)/Rect[0 0 9 9]/Parent 27 0 R>>",
    )
    began = time.process_time()

    page_of(content)

    assert time.process_time() - began < 10
