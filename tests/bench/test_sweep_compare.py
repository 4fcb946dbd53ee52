"""Comparison of pages with those of another renderer."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops, ImageFilter

from bench.sweep.compare import DifferenceKind, compare
from bench.sweep.pages import PageComparer, compare_with_reference
from bench.sweep.reference import NoReferenceError
from handler.profiles import PROFILES
from handler.schema import Page, PageWarning
from tests import documents

PAGE = documents.text_page().convert("L")
WHITE = Image.new("L", PAGE.size, "white")


def make_page(image: Image.Image, **fields: object) -> Page:
    return Page(
        number=1,
        width=image.width,
        height=image.height,
        pixel_width=image.width,
        pixel_height=image.height,
        pixels=image.convert("RGB").tobytes(),
        **fields,  # type: ignore[arg-type]
    )


def add_patch(image: Image.Image) -> Image.Image:
    changed = image.copy()
    changed.paste(0, (400, 500, 560, 660))
    return changed


@pytest.mark.parametrize(
    "other",
    [
        PAGE,
        PAGE.resize((480, 600)),
        ImageChops.offset(PAGE, 1, 1),
        PAGE.filter(ImageFilter.GaussianBlur(1)),
    ],
    ids=["equal", "smaller", "shifted", "blurred"],
)
def test_other_antialiasing_is_the_same_page(other):
    assert compare(PAGE, other).kind is DifferenceKind.SAME


@pytest.mark.parametrize(
    ("ours", "reference", "kind"),
    [
        (WHITE, PAGE, DifferenceKind.BLANK),
        (Image.new("L", PAGE.size, "black"), PAGE, DifferenceKind.BLANK),
        (PAGE, WHITE, DifferenceKind.EXTRA),
        (WHITE, WHITE, DifferenceKind.SAME),
        (Image.new("L", PAGE.size, "black"), WHITE, DifferenceKind.SHADE),
        (PAGE.point(lambda value: 255 - value), PAGE, DifferenceKind.INVERTED),
        (PAGE.point(lambda value: value // 2), PAGE, DifferenceKind.SHADE),
        (PAGE.rotate(90, expand=True), PAGE, DifferenceKind.TURNED),
        (PAGE.rotate(180), PAGE, DifferenceKind.TURNED),
        (PAGE.crop((0, 0, 640, 500)), PAGE, DifferenceKind.SHAPE),
        (
            add_patch(add_patch(PAGE).rotate(180)),
            add_patch(PAGE),
            DifferenceKind.DIFFERENT,
        ),
    ],
)
def test_faults_of_a_page_are_named(ours, reference, kind):
    assert compare(ours, reference).kind is kind


def test_a_missing_part_of_a_full_page_is_found():
    full = documents.text_page(["Many words in a line of a page"] * 12).convert("L")
    with_gap = full.copy()
    with_gap.paste(255, (0, 300, 640, 420))

    difference = compare(with_gap, full)

    assert difference.kind is DifferenceKind.PART


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_reported_rotation_is_no_difference(degrees):
    rotated = make_page(PAGE.rotate(-degrees, expand=True), rotation=degrees)
    page = Page(
        number=1,
        width=PAGE.width,
        height=PAGE.height,
        pixel_width=rotated.pixel_width,
        pixel_height=rotated.pixel_height,
        pixels=rotated.pixels,
        rotation=degrees,
    )

    assert compare_with_reference(page, PAGE).kind is DifferenceKind.SAME


def test_reported_inversion_is_no_difference():
    dark = PAGE.point(lambda value: 255 - value)
    warning = PageWarning("light_on_dark", "the page was inverted")

    assert (
        compare_with_reference(make_page(PAGE, warnings=(warning,)), dark).kind
        is DifferenceKind.SAME
    )
    assert compare_with_reference(make_page(PAGE), dark).kind is DifferenceKind.INVERTED


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        (PAGE, DifferenceKind.BLANK),
        (WHITE, DifferenceKind.SAME),
        (Image.new("L", PAGE.size, "black"), DifferenceKind.SAME),
    ],
    ids=["text", "white", "black"],
)
def test_a_blank_page_differs_from_one_with_content(reference, kind):
    page = make_page(Image.new("L", (32, 32)), is_blank=True)

    assert compare_with_reference(page, reference).kind is kind


class FixedRenderer:
    """Fake renderer that draws the same for every page."""

    def __init__(self, image: Image.Image | None) -> None:
        self.image = image
        self.pages: list[int] = []

    def draws(self, media_type: str) -> bool:
        return media_type.startswith("image/")

    def render(self, path: object, media_type: str, page: int) -> Image.Image:
        self.pages.append(page)
        if self.image is None:
            raise NoReferenceError("it draws nothing")
        return self.image


@pytest.fixture
def compare_file(tmp_path):
    """Function that compares a document's pages with those of a renderer."""

    def compare_content(content: bytes, renderer: FixedRenderer, name: str = "a.tiff"):
        path = tmp_path / name
        path.write_bytes(content)
        comparer = PageComparer([renderer], PROFILES["mini"].sizing, max_pages=2)
        try:
            return comparer.compare(path)
        finally:
            comparer.close()

    return compare_content


def test_the_first_pages_of_a_file_are_compared(compare_file):
    renderer = FixedRenderer(PAGE)
    document = documents.as_tiff(PAGE, WHITE, PAGE)

    first, second = compare_file(document, renderer)

    assert (first.difference.kind, second.difference.kind) == (
        DifferenceKind.SAME,
        DifferenceKind.BLANK,
    )
    assert renderer.pages == [1, 2]


def test_a_page_without_reference_says_why(compare_file):
    [page] = compare_file(documents.as_tiff(PAGE), FixedRenderer(None))

    assert (page.difference, page.failure) == (None, "it draws nothing")


def test_a_file_that_we_cannot_decode_has_our_code(compare_file):
    [page] = compare_file(b"no image", FixedRenderer(PAGE))

    assert page.difference is None
    assert page.code in ("unsupported_media_type", "unreadable_document")


def test_a_file_that_no_renderer_draws_is_left_out(compare_file):
    assert compare_file(documents.pdf(), FixedRenderer(PAGE), "a.pdf") == []
