"""Tests of rendering and input sizes against those of chandra-ocr and Qwen."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from handler.errors import UnreadableDocumentError
from handler.preprocess import pdf_render_size, target_size
from handler.preprocess.sizing import (
    MAX_MODEL_PIXELS,
    MIN_MODEL_PIXELS,
    check_aspect,
    pdf_target_size,
)
from tests.handler.preprocess.reading import CHANDRA, CHANDRA_2, MINI

A4 = (595.2755737304688, 841.8897705078125)
A3 = (841.8897705078125, 1190.551181102362)

image_sides = st.integers(1, 30_000)
page_sides = st.floats(20, 5000)


@dataclass
class FakeImage:
    """Fake image that has only a size, for functions that resize."""

    width: int
    height: int

    @property
    def size(self):
        return self.width, self.height

    def resize(self, size, resample):
        return FakeImage(*size)


def chandra_scale_to_fit():
    """Load `scale_to_fit` of chandra-ocr 0.1.8 from its file.

    The package cannot be imported without torchvision.
    """
    package = importlib.util.find_spec("chandra")
    assert package is not None
    assert package.origin is not None
    source = Path(package.origin).parent / "model" / "util.py"
    spec = importlib.util.spec_from_file_location("chandra_util", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.scale_to_fit


SCALE_TO_FIT = chandra_scale_to_fit()


def compute_chandra_size(width, height):
    """Return the size after the last step of chandra-ocr 0.1.8 and of the processor.

    Returns None if they fail.
    """
    try:
        fitted = SCALE_TO_FIT(FakeImage(width, height))
        rows, columns = smart_resize(
            fitted.height, fitted.width, 32, MIN_MODEL_PIXELS, MAX_MODEL_PIXELS
        )
    except (ValueError, ZeroDivisionError):
        return None
    return columns, rows


def call_or_none(function, *args):
    """Return the result of a function, or None for a page that is too long."""
    try:
        return function(*args)
    except UnreadableDocumentError:
        return None


def is_readable(width, height):
    return max(width, height) <= 200 * min(width, height)


@settings(max_examples=500, deadline=None)
@given(image_sides, image_sides)
def test_input_size_of_image_matches_chandra(width, height):
    enlarged = width, height
    if width < 1536 or height < 1536:
        scale = 1536 / min(width, height)
        enlarged = int(width * scale), int(height * scale)

    expected = compute_chandra_size(*enlarged)
    if expected is not None and is_readable(width, height):
        assert target_size(width, height, CHANDRA) == expected


@settings(max_examples=500, deadline=None)
@given(page_sides, page_sides)
def test_input_size_of_pdf_page_matches_chandra(width, height):
    scale = max(1024 / min(width, height) * 72, 192) / 72
    drawn = math.ceil(width * scale), math.ceil(height * scale)

    expected = compute_chandra_size(*drawn)
    if expected is not None and is_readable(width, height):
        assert pdf_target_size(width, height, CHANDRA) == expected


# Image sizes, and the results of scale_to_fit of chandra-ocr 0.2.0 and smart_resize.
# Version 0.2.0 cannot be installed beside 0.1.8.
CHANDRA_2_SIZES = [
    ((1587, 2245), (1600, 2240)),
    ((1588, 2246), (1600, 2240)),
    ((640, 800), (1536, 1920)),
    ((1, 1), (1536, 1536)),
    ((3000, 2000), (3008, 1984)),
    ((3072, 2048), (3040, 2048)),
    ((3400, 5100), (2048, 3040)),
    ((10000, 10000), (2496, 2528)),
    ((20000, 150), (28096, 224)),
    ((1536, 1536), (1536, 1536)),
    ((2048, 3072), (2048, 3040)),
    ((2509, 2509), (2496, 2528)),
    ((7000, 900), (7008, 896)),
    ((900, 7000), (896, 7008)),
    ((49, 50), (1536, 1568)),
    ((10000, 60), (32096, 192)),
]


@pytest.mark.parametrize(("size", "expected"), CHANDRA_2_SIZES)
def test_input_size_of_image_matches_chandra_2(size, expected):
    assert call_or_none(target_size, *size, CHANDRA_2) == expected


@given(image_sides, image_sides)
def test_all_profiles_agree_on_the_longest_page(width, height):
    verdicts = {
        call_or_none(target_size, *image_sides, sizing) is not None
        for sizing in (CHANDRA, CHANDRA_2, MINI)
        for image_sides in ((width, height), (height, width))
    }

    assert verdicts == {is_readable(width, height)}


@pytest.mark.parametrize("sizing", [CHANDRA, CHANDRA_2, MINI])
@pytest.mark.parametrize("size", [(200, 1), (1, 200), (30, 6000), (6000, 30)])
def test_page_at_the_aspect_limit_is_accepted(size, sizing):
    columns, rows = target_size(size[0], size[1], sizing)

    assert max(columns, rows) <= 200 * min(columns, rows)


@pytest.mark.parametrize("sizing", [CHANDRA, CHANDRA_2, MINI])
def test_error_states_the_ratio_of_the_page_sides(sizing):
    with pytest.raises(UnreadableDocumentError, match=r"the page is 206\.7 times"):
        target_size(30, 6200, sizing)


def test_sizes_of_an_a4_page_match_chandra():
    assert pdf_render_size(*A4, CHANDRA) == (1588, 2246)
    assert pdf_target_size(*A4, CHANDRA) == (1600, 2240)
    assert pdf_target_size(*A4, CHANDRA_2) == (1600, 2240)


def test_small_pdf_page_is_rendered_at_higher_resolution():
    assert pdf_render_size(100, 200, CHANDRA) == (1024, 2048)


def test_bitmap_of_large_page_is_no_larger_than_the_input():
    assert pdf_render_size(*A3, CHANDRA) == (2110, 2983)
    assert pdf_target_size(*A3, CHANDRA) == (2112, 2976)


@given(st.floats(0.01, 1e9), st.floats(0.01, 1e9))
def test_bitmap_of_any_accepted_pdf_page_is_bounded(width, height):
    if call_or_none(pdf_target_size, width, height, CHANDRA) is None:
        return

    columns, rows = pdf_render_size(width, height, CHANDRA)

    assert columns * rows < 1.02 * CHANDRA.max_pixels


@given(image_sides, image_sides, st.sampled_from([CHANDRA, CHANDRA_2, MINI]))
def test_input_size_is_a_multiple_of_the_patch_size(width, height, sizing):
    size = call_or_none(target_size, width, height, sizing)

    if size is not None:
        assert size[0] % 32 == size[1] % 32 == 0
        assert min(size) >= 32


def test_max_side_applies_to_images_and_pdf_pages():
    capped = replace(CHANDRA, max_side=1024)

    assert target_size(3000, 2000, capped) == (1024, 672)
    assert target_size(300, 200, capped) == (1024, 672)
    assert pdf_render_size(*A4, capped) == (725, 1024)
    assert pdf_target_size(*A4, capped) == (736, 1024)


@pytest.mark.parametrize("sizing", [CHANDRA, CHANDRA_2, MINI])
@pytest.mark.parametrize("size", [(1, 100_000_000), (100_000_000, 1), (10, 4000)])
def test_extremely_thin_page_is_rejected(size, sizing):
    with pytest.raises(UnreadableDocumentError, match="times as long as it is wide"):
        target_size(size[0], size[1], sizing)


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        ((20_001, 100), "200.1"),
        ((0.01, 842), "84,200"),
        ((1e-30, 842), "more than 1,000,000"),
    ],
)
def test_stated_ratio_of_rejected_page_exceeds_the_limit(size, ratio):
    with pytest.raises(UnreadableDocumentError, match=f"is {ratio} times"):
        check_aspect(*size)
