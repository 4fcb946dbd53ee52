"""Tests of decoded images: orientation, transparency, colours and depth."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image, ImageChops, ImageOps

from handler.errors import UnreadableDocumentError
from tests.documents import (
    as_bmp,
    as_gif,
    as_jpeg,
    as_mpo,
    as_png,
    as_tiff,
    as_webp,
    oriented_jpeg,
    png_of,
    quadrants,
    text_page,
)
from tests.handler.preprocess.reading import (
    CHANDRA,
    MINI,
    colour_at,
    darkest_level,
    decode_content,
    to_image,
)

SQUARE_SIZE = (64, 64)


def is_nearly(colour: tuple[int, int, int], expected: tuple[int, int, int]) -> bool:
    return all(abs(a - b) <= 12 for a, b in zip(colour, expected, strict=True))


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    histogram = ImageChops.difference(one, other).convert("L").histogram()
    return sum(i * count for i, count in enumerate(histogram)) / sum(histogram)


@pytest.mark.parametrize("encode", [as_png, as_bmp, as_gif, as_tiff])
def test_lossless_format_is_decoded_exactly(encode):
    page = decode_content(encode(quadrants((512, 704))))

    assert (page.width, page.height) == (page.pixel_width, page.pixel_height)
    assert to_image(page).tobytes() == quadrants((512, 704)).tobytes()


@pytest.mark.parametrize("encode", [as_jpeg, as_webp])
def test_lossy_format_is_decoded_closely(encode):
    page = decode_content(encode(quadrants((512, 704))))

    assert mean_difference(to_image(page), quadrants((512, 704))) < 2


def test_page_is_resized_once_and_reports_its_size():
    original = text_page(size=(640, 800))

    page = decode_content(as_png(original), sizing=CHANDRA)

    assert (page.number, page.width, page.height) == (1, 640, 800)
    assert (page.pixel_width, page.pixel_height) == (1536, 1920)
    assert (
        page.pixels == original.resize((1536, 1920), Image.Resampling.LANCZOS).tobytes()
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    page = decode_content(oriented_jpeg(quadrants(), orientation))

    assert (page.width, page.height) == quadrants().size
    assert is_nearly(colour_at(page, 0.25, 0.25), (255, 0, 0))
    assert is_nearly(colour_at(page, 0.75, 0.25), (0, 255, 0))
    assert is_nearly(colour_at(page, 0.25, 0.75), (0, 0, 255))
    assert is_nearly(colour_at(page, 0.75, 0.75), (255, 255, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_tiff_is_applied_once(orientation):
    upright = quadrants()
    photograph = oriented_jpeg(upright, orientation)
    with Image.open(io.BytesIO(photograph)) as oriented:
        exif = Image.Exif()
        exif[0x0112] = orientation
        page = decode_content(as_tiff(oriented.copy(), exif=exif))

    assert (page.width, page.height) == upright.size
    assert is_nearly(colour_at(page, 0.25, 0.25), (255, 0, 0))
    assert is_nearly(colour_at(page, 0.75, 0.75), (255, 255, 0))


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x01\0\0\0a\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0",
    ],
)
@pytest.mark.parametrize("encode", [as_jpeg, as_png, as_webp])
def test_malformed_exif_data_are_ignored(encode, exif):
    page = decode_content(encode(quadrants(), exif=exif))

    assert (page.width, page.height) == quadrants().size


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("encode", [as_png, as_tiff])
def test_transparent_image_becomes_white(encode, mode):
    image = Image.new(mode, SQUARE_SIZE)

    assert colour_at(decode_content(encode(image)), 0.5, 0.5) == (255, 255, 255)


def test_half_transparent_black_becomes_gray():
    image = Image.new("RGBA", SQUARE_SIZE, (0, 0, 0, 128))

    assert is_nearly(
        colour_at(decode_content(as_png(image)), 0.5, 0.5), (127, 127, 127)
    )


@pytest.mark.parametrize("encode", [as_webp, as_gif])
def test_transparency_of_webp_and_gif_becomes_white(encode):
    image = Image.new("RGBA", SQUARE_SIZE)
    image.paste((0, 0, 0, 255), (0, 0, 32, 64))

    page = decode_content(encode(image))

    assert is_nearly(colour_at(page, 0.25, 0.5), (0, 0, 0))
    assert is_nearly(colour_at(page, 0.75, 0.5), (255, 255, 255))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_transparent_colour_becomes_white(mode):
    image = Image.new(mode, SQUARE_SIZE)
    transparency = (0, 0, 0) if mode == "RGB" else 0

    page = decode_content(as_png(image, transparency=transparency))

    assert colour_at(page, 0.5, 0.5) == (255, 255, 255)


@pytest.mark.parametrize("encode", [as_jpeg, as_tiff])
@pytest.mark.parametrize(
    ("cmyk", "rgb"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0, 255, 255, 0), (255, 0, 0)),
        ((255, 0, 0, 0), (0, 255, 255)),
    ],
)
def test_cmyk_is_converted_to_rgb(encode, cmyk, rgb):
    image = Image.new("CMYK", SQUARE_SIZE, cmyk)

    assert is_nearly(colour_at(decode_content(encode(image)), 0.5, 0.5), rgb)


@pytest.mark.parametrize(
    ("encode", "mode"), [(as_png, "I;16"), (as_tiff, "I;16"), (as_tiff, "I;16B")]
)
@pytest.mark.parametrize(
    ("value", "gray"), [(0, 0), (16_448, 64), (32_896, 128), (65_535, 255)]
)
def test_16_bit_gray_is_scaled_and_not_clipped(encode, mode, value, gray):
    image = Image.new(mode, SQUARE_SIZE, value)

    assert colour_at(decode_content(encode(image)), 0.5, 0.5) == (gray, gray, gray)


@pytest.mark.parametrize(
    ("mode", "white"),
    [("I", 255), ("I", 65_535), ("I", 2_000_000), ("F", 1.0), ("F", 255.0)],
)
def test_32_bit_gray_is_scaled_by_its_values(mode, white):
    image = Image.new(mode, SQUARE_SIZE)
    image.paste(white, (0, 0, 32, 64))

    page = decode_content(as_tiff(image))

    assert colour_at(page, 0.25, 0.5) == (255, 255, 255)
    assert colour_at(page, 0.75, 0.5) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_negative_values_are_scaled(mode):
    image = Image.new(mode, SQUARE_SIZE, -1000)
    image.paste(1000, (0, 0, 32, 64))

    page = decode_content(as_tiff(image))

    assert colour_at(page, 0.25, 0.5) == (255, 255, 255)
    assert colour_at(page, 0.75, 0.5) == (0, 0, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_rejected(value):
    with pytest.raises(UnreadableDocumentError, match="values that are not numbers"):
        decode_content(as_tiff(Image.new("F", SQUARE_SIZE, value)))


@pytest.mark.parametrize(
    ("encode", "mode"),
    [(as_png, "1"), (as_png, "L"), (as_png, "P"), (as_tiff, "YCbCr")],
)
def test_text_of_every_other_mode_is_black_on_white(encode, mode):
    page = decode_content(encode(text_page().convert(mode)))

    assert darkest_level(page, 0, 1) < 100
    assert min(colour_at(page, 0.99, 0.99)) > 250


def test_lightness_of_lab_is_read():
    image = Image.new("LAB", SQUARE_SIZE, (255, 128, 128))

    assert min(colour_at(decode_content(as_tiff(image)), 0.5, 0.5)) > 200


def test_16_bit_colours_keep_the_high_byte():
    row = b"\0" + struct.pack(">HHH", 0xFF00, 0x8000, 0x0000) * 64
    content = png_of(64, 64, bits=16, colour=2, data=zlib.compress(row * 64))

    assert colour_at(decode_content(content), 0.5, 0.5) == (0xFF, 0x80, 0)


@pytest.mark.parametrize("encode", [as_gif, as_mpo])
def test_first_of_several_images_is_read(encode):
    black, white = Image.new("RGB", SQUARE_SIZE), Image.new("RGB", SQUARE_SIZE, "white")

    assert is_nearly(
        colour_at(decode_content(encode(black, white)), 0.5, 0.5), (0, 0, 0)
    )


def test_oriented_image_matches_exif_transpose():
    content = oriented_jpeg(text_page(size=(256, 320)), 6)

    page = decode_content(content, sizing=MINI)

    with Image.open(io.BytesIO(content)) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    assert expected.size == (page.width, page.height)
    assert page.pixels == expected.tobytes()
