"""Tests of the rendering of form fields and annotations."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from PIL import Image

from handler.preprocess import DecodeOptions
from handler.preprocess.pdf.annotations.appearances import extract_plain_text
from tests.documents import pdf_of_objects
from tests.handler.preprocess.reading import darkest_level, decode_content, to_image

FONT_RESOURCES = b"<</H<</Type/Font/Subtype/Type1/BaseFont/Helvetica-Bold>>>>"
TEXT_APPEARANCE = b"/Tx BMC BT /H 40 Tf 2 10 Td (XXXX) Tj ET EMC"
EMPTY_APPEARANCE = b"/Tx BMC EMC"
BLACK_APPEARANCE = b"0 g 0 0 160 60 re f"
WHITE_APPEARANCE = b"1 g 0 0 160 60 re f"


def form_pdf(
    *annotations: bytes,
    appearances: tuple[bytes, ...] = (),
    contents: bytes = b"",
    has_form: bool = True,
) -> bytes:
    """Return a page of 200 x 200 points. Appearances are objects 10, 11, ..."""
    numbers = range(5, 5 + len(annotations))
    references = b" ".join(b"%d 0 R" % n for n in numbers)
    form = b"/AcroForm<</Fields[%s]/DA(/H 40 Tf 0 g)/DR<</Font%s>>>>" % (
        references,
        FONT_RESOURCES,
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
            b"/Length %d>>\nstream\n%s\nendstream"
            % (FONT_RESOURCES, len(appearance), appearance)
        )
    return pdf_of_objects(*objects)


def form_field(extra: bytes, *, kind: bytes = b"Tx", flags: int = 4) -> bytes:
    """Return a form field in the upper half of the page."""
    return (
        b"<</Type/Annot/Subtype/Widget/FT/%s/T(name)/F %d/P 3 0 R"
        b"/Rect[20 120 180 180]/DA(/H 40 Tf 0 g)%s>>" % (kind, flags, extra)
    )


def darkest_in_upper_half(content: bytes) -> int:
    """Return the darkest level of a rendered page at the place of its field."""
    return darkest_level(decode_content(content), 0.1, 0.4)


def darkest_in(image: Image.Image, part: tuple[float, float, float, float]) -> int:
    """Return the darkest value in a box given as shares of width and height."""
    width, height = image.size
    left, top, right, bottom = part
    box = (left * width, top * height, right * width, bottom * height)
    return min(image.crop(box).convert("L").tobytes())


def test_field_outside_of_a_form_is_rendered():
    content = form_pdf(
        form_field(b"/AP<</N 10 0 R>>"), appearances=(TEXT_APPEARANCE,), has_form=False
    )

    assert darkest_in_upper_half(content) < 80


def test_field_without_appearance_shows_its_value():
    assert darkest_in_upper_half(form_pdf(form_field(b"/V(XXXX)"))) < 80


def test_field_with_empty_appearance_shows_its_value():
    content = form_pdf(
        form_field(b"/V(XXXX)/AP<</N 10 0 R>>"), appearances=(EMPTY_APPEARANCE,)
    )

    assert darkest_in_upper_half(content) < 80


def test_empty_field_stays_empty():
    content = form_pdf(
        form_field(b"/V()/AP<</N 10 0 R>>"), appearances=(EMPTY_APPEARANCE,)
    )

    assert darkest_in_upper_half(content) == 255


def test_print_only_field_is_rendered():
    content = form_pdf(
        form_field(b"/AP<</N 10 0 R>>", flags=36), appearances=(TEXT_APPEARANCE,)
    )

    assert darkest_in_upper_half(content) < 80


def test_hidden_field_is_not_drawn():
    content = form_pdf(
        form_field(b"/AP<</N 10 0 R>>", flags=6), appearances=(TEXT_APPEARANCE,)
    )

    assert darkest_in_upper_half(content) == 255


def test_unchecked_button_is_not_rendered():
    button = form_field(b"/AS/Off/AP<</N<</On 10 0 R>>>>", kind=b"Btn")

    assert (
        darkest_in_upper_half(form_pdf(button, appearances=(BLACK_APPEARANCE,))) == 255
    )


def test_checked_button_shows_its_mark():
    button = form_field(b"/V/On/AS/On/AP<</N<</On 10 0 R>>>>", kind=b"Btn")

    assert darkest_in_upper_half(form_pdf(button, appearances=(BLACK_APPEARANCE,))) < 80


def test_annotation_above_a_field_covers_it():
    stamp = (
        b"<</Type/Annot/Subtype/Stamp/F 4/P 3 0 R/Rect[20 120 180 180]"
        b"/AP<</N 11 0 R>>>>"
    )
    content = form_pdf(
        form_field(b"/AP<</N 10 0 R>>"),
        stamp,
        appearances=(BLACK_APPEARANCE, WHITE_APPEARANCE),
    )

    assert darkest_in_upper_half(content) > 200


@pytest.mark.parametrize("subtype", [b"Square", b"Circle"])
def test_shape_without_appearance_is_drawn(subtype):
    shape = (
        b"<</Type/Annot/Subtype/%s/F 4/P 3 0 R/Rect[20 120 180 180]/C[0 0 0]"
        b"/IC[0 0 0]>>" % subtype
    )

    assert darkest_in_upper_half(form_pdf(shape)) < 80


def annotation(
    subtype: bytes, entries: bytes, rect: bytes = b"20 120 180 180"
) -> bytes:
    """Return a black annotation without appearance in the upper half of the page."""
    return b"<</Type/Annot/Subtype/%s/F 4/P 3 0 R/Rect[%s]/C[0 0 0]%s>>" % (
        subtype,
        rect,
        entries,
    )


@pytest.mark.parametrize(
    ("subtype", "entries"),
    [
        (b"Line", b"/L[20 120 180 180]"),
        (b"Polygon", b"/Vertices[20 120 180 120 100 180]"),
        (b"Polygon", b"/Vertices[20 120 180 120 100 180]/IC[0 0 0]/Border[0 0 0]"),
        (b"PolyLine", b"/Vertices[20 120 180 120 100 180]"),
        (b"Stamp", b"/Name/Approved"),
        (b"Stamp", b""),
    ],
)
def test_annotation_without_appearance_is_drawn(subtype, entries):
    assert (
        darkest_in_upper_half(form_pdf(annotation(subtype, entries), has_form=False))
        < 160
    )


def test_flat_line_without_height_is_drawn():
    line = annotation(b"Line", b"/L[20 150 180 150]", b"20 150 180 150")

    assert darkest_in_upper_half(form_pdf(line)) < 160


def test_stamp_shows_its_name_within_its_frame():
    page = to_image(decode_content(form_pdf(annotation(b"Stamp", b"/Name/Approved"))))
    frame = to_image(decode_content(form_pdf(annotation(b"Square", b""))))

    inside = (0.15, 0.15, 0.85, 0.35)
    assert darkest_in(page, inside) < 80
    assert darkest_in(frame, inside) == 255


def test_hidden_line_is_not_drawn():
    line = annotation(b"Line", b"/L[20 120 180 180]").replace(b"/F 4", b"/F 2")

    assert darkest_in_upper_half(form_pdf(line)) == 255


def test_appearance_of_a_stamp_is_not_replaced():
    stamp = annotation(b"Stamp", b"/Name/Approved/AP<</N 10 0 R>>")

    assert darkest_in_upper_half(form_pdf(stamp, appearances=(WHITE_APPEARANCE,))) > 200


def render_free_text(
    text: bytes, entries: bytes = b"/DA(/Helv 24 Tf 0 g)"
) -> Image.Image:
    """Render a free text annotation without an appearance."""
    contents = b"/Contents(%s)/Border[0 0 0]" % text
    note = annotation(b"FreeText", contents + entries).replace(b"/C[0 0 0]", b"")
    # A line of X looks the same upside down, so orientation is not detected.
    options = DecodeOptions(detect_rotation=False)
    return to_image(decode_content(form_pdf(note, has_form=False), options=options))


def count_lines(image: Image.Image) -> int:
    """Return the number of bands of rows with ink."""
    rows = image.convert("L").resize((1, image.height), Image.Resampling.BOX)
    has_ink = [level < 250 for level in rows.tobytes()]
    return sum(b and not a for a, b in pairwise([False, *has_ink]))


@pytest.mark.parametrize("entries", [b"", b"/Q 1", b"/Q 2"])
def test_free_text_is_wrapped(entries):
    page = render_free_text(b"XXXXXX XXXXXX XXXXXX", b"/DA(/Helv 22 Tf 0 g)" + entries)

    assert count_lines(page) == 2


def test_long_free_text_is_reduced_to_fit():
    page = render_free_text(b"XXXX " * 60 + b"XXXXXXXX")

    assert count_lines(page) > 5
    assert darkest_in(page, (0, 0.4, 1, 1)) == 255


def test_rich_text_of_a_free_text_is_drawn():
    page = render_free_text(b"", b"/RC(<body><p>XXXX</p><p>XXXX &amp; X</p></body>)")

    assert count_lines(page) == 2


def test_missing_characters_of_free_text_are_counted():
    text = b"FEFF" + "Łódź XX".encode("utf-16-be").hex().encode()
    note = annotation(b"FreeText", b"/Contents<%s>/DA(/Helv 24 Tf)/C[]" % text)

    page = decode_content(form_pdf(note))

    [warning] = page.warnings
    assert warning.code == "not_drawn"
    assert "2 characters of annotations" in warning.detail


def test_field_with_rich_value_only_shows_its_text():
    rich = form_field(b"/RV(<body><p>XX<b>XX</b></p></body>)")

    assert darkest_in_upper_half(form_pdf(rich)) < 80


@pytest.mark.parametrize(
    ("rich", "plain"),
    [
        ("<p>One</p><p>two</p>", "One\ntwo"),
        ('<body xmlns="x"><p>A &lt; <b>B</b><br/>C</p></body>', "A < B\nC"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_rich_text_becomes_plain(rich, plain):
    assert extract_plain_text(rich) == plain


def test_page_content_is_kept_below_form_fields():
    """The content of the page is rendered under the fields and is not changed."""
    contents = b"0 g 0 0 200 60 re f"
    content = form_pdf(
        form_field(b"/AP<</N 10 0 R>>"),
        appearances=(TEXT_APPEARANCE,),
        contents=contents,
    )

    assert darkest_level(decode_content(content), 0.75, 0.95) < 80


def test_exponential_field_tree_takes_bounded_time():
    """A chain of 24 fields that each name the next one twice has 16 million paths."""
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

    decode_content(content)

    assert time.process_time() - began < 10
