"""Tests that the ink of transparent images is visible on their background."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageDraw

from handler.preprocess.image.shapes import label_shapes
from handler.preprocess.image.transparency import compose_on_background
from tests.documents import as_png
from tests.handler.preprocess.reading import decode_content, to_image

NUM_LINES = 12
LINE_PITCH = 24
SIZE = (200, NUM_LINES * LINE_PITCH)

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
GRAY: Colour = (128, 128, 128)
RED: Colour = (255, 0, 0)
BLUE: Colour = (0, 0, 255)
YELLOW: Colour = (255, 255, 0)


def image_of_lines(colours: list[Colour]) -> Image.Image:
    """Return a transparent image with a line of small shapes in each colour."""
    image = Image.new("RGBA", SIZE)
    draw = ImageDraw.Draw(image)
    for number, colour in enumerate(colours):
        for left in range(8, SIZE[0] - 16, 12):
            top = number * LINE_PITCH + 6
            draw.rectangle((left, top, left + 5, top + 11), outline=(*colour, 255))
            draw.rectangle((left, top, left + 2, top + 5), fill=(*colour, 255))
    return image


def measure_contrasts(page: Image.Image, num_lines: int) -> list[int]:
    """Return the largest contrast with the background in each line."""
    gray = np.asarray(page.convert("L")).astype(int)
    ground = gray[0, 0]
    rows = [gray[n * LINE_PITCH : (n + 1) * LINE_PITCH] for n in range(num_lines)]
    return [int(np.abs(row - ground).max()) for row in rows]


@pytest.mark.parametrize("num_second", [1, 2, 3, 6, 10, 11])
@pytest.mark.parametrize(
    ("first", "second"),
    [(WHITE, BLACK), (WHITE, RED), (WHITE, BLUE), (WHITE, GRAY), (YELLOW, BLACK)],
)
def test_ink_of_two_colours_is_visible(first, second, num_second):
    colours = [first] * (NUM_LINES - num_second) + [second] * num_second

    page = to_image(decode_content(as_png(image_of_lines(colours))))

    assert min(measure_contrasts(page, NUM_LINES)) > 50


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from([WHITE, BLACK, GRAY, RED, BLUE]),
        min_size=NUM_LINES,
        max_size=NUM_LINES,
    )
)
def test_ink_of_several_colours_is_visible(colours):
    page = compose_on_background(image_of_lines(colours))

    assert min(measure_contrasts(page, NUM_LINES)) > 40


@given(st.integers(0, 160))
def test_ink_visible_on_white_gets_a_white_background(level):
    page = compose_on_background(image_of_lines([(level,) * 3] * NUM_LINES))

    assert page.getpixel((0, 0)) == WHITE


@pytest.mark.parametrize(("paper", "ink"), [(WHITE, BLACK), (BLACK, WHITE)])
def test_paper_with_ragged_edges_keeps_white_background(paper, ink):
    image = Image.new("RGBA", SIZE)
    image.paste((*paper, 255), (5, 5, SIZE[0] - 9, SIZE[1] - 9))
    image.alpha_composite(image_of_lines([ink] * (NUM_LINES - 2)), (0, LINE_PITCH))

    assert compose_on_background(image).getpixel((0, 0)) == WHITE


def test_transparent_letters_get_a_black_background():
    image = Image.new("RGBA", SIZE, (*WHITE, 255))
    image.paste((0, 0, 0, 0), (20, 20, 60, 40))

    page = compose_on_background(image)

    assert page.getpixel((0, 0)) == WHITE
    assert page.getpixel((30, 30)) == BLACK


def test_few_light_specks_keep_the_white_background():
    image = image_of_lines([BLACK] * NUM_LINES)
    ImageDraw.Draw(image).rectangle((8, 2, 14, 3), fill=(*WHITE, 255))

    assert compose_on_background(image).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize(("ink", "ground"), [(WHITE, BLACK), (BLACK, WHITE)])
def test_single_visible_pixel_is_visible(ink, ground):
    image = Image.new("RGBA", (1601, 1601))
    image.putpixel((801, 799), (*ink, 255))

    page = compose_on_background(image)

    assert (page.getpixel((801, 799)), page.getpixel((0, 0))) == (ink, ground)


def label_by_flood_fill(mask: np.ndarray) -> np.ndarray:
    """Label the shapes of a mask by flood fill, as a reference."""
    shapes = np.full(mask.shape, -1)
    for place in map(tuple, np.argwhere(mask)):
        queue = [place] if shapes[place] < 0 else []
        while queue:
            row, column = queue.pop()
            shapes[row, column] = (
                shapes.max() + 1 if (row, column) == place else (shapes[place])
            )
            near = ((row - 1, column), (row + 1, column), (row, column - 1))
            queue += [
                (a, b)
                for a, b in (*near, (row, column + 1))
                if 0 <= a < mask.shape[0] and 0 <= b < mask.shape[1]
                if mask[a, b] and shapes[a, b] < 0
            ]
    labels: np.ndarray = shapes[mask]
    return labels


@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1), st.integers(1, 12), st.integers(1, 12))
def test_connected_pixels_have_the_same_number(seed, share, rows, columns):
    mask = np.random.default_rng(seed).random((rows, columns)) < share

    numbers, expected = label_shapes(mask), label_by_flood_fill(mask)

    pairs = set(zip(numbers.tolist(), expected.tolist(), strict=True))
    assert len(pairs) == len(set(numbers.tolist())) == len(set(expected.tolist()))
