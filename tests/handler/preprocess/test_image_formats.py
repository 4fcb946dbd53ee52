"""Tests of less common formats, very large images, and files with several images."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageChops, ImageDraw

from handler.preprocess import Limits, crop_images, decode_page
from tests.documents import (
    as_gif,
    as_heic,
    as_jpeg,
    as_mpo,
    as_png,
    as_webp,
    encoded,
    png_bomb,
    quadrants,
    spooled,
    text_page,
)
from tests.handler.preprocess.reading import (
    MINI,
    colour_at,
    decode_content,
    inspect_content,
    to_image,
)

SIZE = (512, 704)


@pytest.mark.parametrize(
    ("kind", "declared"),
    [
        ("HEIF", "image/heif"),
        ("AVIF", "image/avif"),
        ("JPEG2000", "image/jpx"),
        ("PPM", "image/x-portable-pixmap"),
        ("TGA", "image/tga"),
    ],
)
def test_less_common_format_is_decoded(kind, declared):
    picture = quadrants(SIZE)
    content = as_heic(picture) if kind == "HEIF" else encoded(picture, kind)

    info = inspect_content(content, declared)
    with spooled(content) as document:
        page = decode_page(document, info.media_type, 1, MINI, Limits())

    assert (page.width, page.height) == SIZE
    assert colour_at(page, 0.25, 0.25)[0] > 240
    difference = ImageChops.difference(to_image(page), picture).convert("L")
    assert sum(difference.histogram()[24:]) < 0.02 * SIZE[0] * SIZE[1]


@pytest.mark.parametrize("mode", ["1", "L"])
def test_bilevel_and_gray_pnm_are_decoded(mode):
    picture = text_page(size=SIZE).convert(mode)

    assert to_image(decode_content(encoded(picture, "PPM"))).convert(mode) == picture


def test_largest_image_of_an_icon_is_read():
    content = encoded(quadrants((256, 256)), "ICO", sizes=[(16, 16), (256, 256)])

    assert decode_content(content).width == 256


@pytest.mark.parametrize("encode", [as_heic, lambda i, **o: encoded(i, "AVIF", **o)])
def test_oriented_heic_or_avif_is_rotated_once(encode):
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = quadrants(SIZE).transpose(Image.Transpose.ROTATE_90)

    page = decode_content(encode(sideways, exif=exif))

    assert (page.width, page.height) == SIZE
    assert colour_at(page, 0.25, 0.25)[0] > 240
    assert colour_at(page, 0.75, 0.25)[1] > 240


@pytest.mark.parametrize(
    "content",
    [
        as_gif(quadrants(), text_page(size=(48, 80))),
        as_png(quadrants(), save_all=True, append_images=[text_page(size=(48, 80))]),
        as_webp(quadrants(), save_all=True, append_images=[text_page(size=(48, 80))]),
        encoded(
            quadrants(), "AVIF", save_all=True, append_images=[text_page(size=(48, 80))]
        ),
        as_mpo(quadrants(), text_page(size=(48, 80))),
        as_heic(quadrants(), save_all=True, append_images=[text_page(size=(48, 80))]),
    ],
    ids=["gif", "apng", "webp", "avif", "mpo", "heic"],
)
def test_warning_states_number_of_images_in_a_file(content):
    (warning,) = inspect_content(content).warnings

    assert warning.code == "frames_ignored"
    assert "2 images" in warning.detail


def test_smaller_image_in_a_jpeg_has_no_warning():
    assert inspect_content(as_mpo(text_page(), quadrants())).warnings == ()


def test_gif_canvas_around_its_first_frame_is_white():
    frame = as_gif(Image.new("RGB", (64, 64), "red"))
    content = frame[:6] + b"\x80\0\x80\0" + frame[10:]

    page = decode_content(content)

    assert (page.width, page.height) == (128, 128)
    assert colour_at(page, 0.25, 0.25) == (255, 0, 0)
    assert colour_at(page, 0.75, 0.75) == (255, 255, 255)


LIGHT_INKS = [(255, 255, 255), (250, 245, 200)]


def transparent_page_with_ink(
    colour: tuple[int, int, int], mode: str = "RGBA"
) -> Image.Image:
    page = Image.new("RGBA", SIZE, (*colour, 0))
    draw = ImageDraw.Draw(page)
    draw.rectangle((100, 100, 400, 200), fill=(*colour, 255))
    draw.rectangle((100, 300, 400, 320), fill=(*colour, 255))
    return page.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
@pytest.mark.parametrize("colour", LIGHT_INKS)
def test_light_ink_gets_a_black_background(mode, colour):
    image = transparent_page_with_ink(colour, "RGBA" if mode == "PA" else mode)
    if mode == "PA":
        image = image.quantize(8)

    page = decode_content(as_png(image))

    assert min(colour_at(page, 0.5, 0.2)) > 180
    assert colour_at(page, 0.5, 0.9) == (0, 0, 0)


def test_dark_ink_gets_a_white_background():
    page = decode_content(
        as_webp(transparent_page_with_ink((20, 20, 60)), lossless=True)
    )

    assert max(colour_at(page, 0.5, 0.2)) < 80
    assert colour_at(page, 0.5, 0.9) == (255, 255, 255)


def test_light_and_dark_ink_get_a_gray_background():
    image = transparent_page_with_ink((255, 255, 255))
    ImageDraw.Draw(image).rectangle((100, 400, 400, 500), fill=(0, 0, 0, 255))

    gray, *others = colour_at(decode_content(as_png(image)), 0.5, 0.95)

    assert 80 <= gray <= 176
    assert others == [gray, gray]


def test_paper_with_transparent_corners_stays_white():
    image = text_page(size=SIZE).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 20, 20))

    assert colour_at(decode_content(as_png(image)), 0.01, 0.01) == (255, 255, 255)


def test_fully_transparent_image_is_white():
    page = decode_content(as_png(Image.new("RGBA", SIZE)))

    assert page.pixels == b"\xff" * len(page.pixels)


def test_very_large_image_keeps_its_reported_size():
    content = png_bomb(7200)

    page = decode_content(content)

    assert (page.width, page.height) == (7200, 7200)


@pytest.mark.parametrize(
    ("encode", "mode"),
    [
        *((as_png, mode) for mode in ("1", "L", "P", "RGB", "RGBA", "I;16")),
        *((as_jpeg, mode) for mode in ("L", "RGB")),
    ],
)
def test_a_halved_image_looks_like_the_whole(mode, encode):
    original = text_page(size=(1000, 1401)).convert("L")
    image = original.convert(mode)
    content = encode(image)
    whole = decode_content(content)

    halved = decode_content(content, limits=Limits(max_full_pixels=1_000_000))

    assert (halved.width, halved.height) == (whole.width, whole.height)
    difference = ImageChops.difference(to_image(whole), to_image(halved)).convert("L")
    mean = sum(i * n for i, n in enumerate(difference.histogram())) / (
        difference.width * difference.height
    )
    assert mean < 4


def test_figures_of_a_halved_image_are_cut_at_the_same_place():
    limits = Limits(max_full_pixels=100_000)
    with spooled(as_png(quadrants(SIZE))) as document:
        crops = crop_images(
            document, "image/png", 1, MINI, limits, {"a": (256, 0, 512, 352)}
        )

    with Image.open(io.BytesIO(crops["a"])) as crop:
        assert crop.size == (128, 176)
        assert crop.convert("RGB").split()[1].getpixel((4, 170)) == pytest.approx(
            255, abs=20
        )
