"""Tests that 16-bit samples are scaled by the number of bits in use."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from handler.errors import UnreadableDocumentError
from tests.documents import as_png
from tests.handler.preprocess.reading import decode_content, to_image
from tests.handler.preprocess.test_samples import (
    COLOUR,
    GRAY,
    add_transparent_colour,
    encode_16_bit_png,
    encode_tiff,
    has_values,
    to_cmyk,
    wrap_in_tiff,
)

BITS = [10, 12, 14, 16]


def to_16_bit_samples(values, bits):
    """Convert values from 0 to 1 to samples of `bits` bits in 16-bit words."""
    return np.round(values * (2.0**bits - 1)).astype(np.uint16)


def binary_pnm(samples, highest=65_535):
    height, width, num_samples = samples.shape
    magic = b"P5" if num_samples == 1 else b"P6"
    head = magic + b"\n# words\n%d %d\n%d\n" % (width, height, highest)
    return head + samples.astype(">u2").tobytes()


def plain_pgm(samples):
    height, width, _ = samples.shape
    values = b"\n".join(b"%d" % value for value in samples.ravel().tolist())
    return b"P2 %d %d 65535\n" % (width, height) + values


def gray_jpeg_2000(samples):
    stream = io.BytesIO()
    Image.fromarray(samples[..., 0]).save(stream, "JPEG2000")
    return stream.getvalue()


ENCODERS = {
    "binary PNM": binary_pnm,
    "plain PGM": plain_pgm,
    "JPEG 2000": gray_jpeg_2000,
    "PNG": lambda samples: encode_16_bit_png(
        samples, 0 if samples.shape[2] == 1 else 2
    ),
    "TIFF": lambda samples: encode_tiff(
        samples, photometric="minisblack" if samples.shape[2] == 1 else "rgb"
    ),
}
COLOUR_ENCODERS = ("binary PNM", "PNG", "TIFF")


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_16_bit_gray_is_scaled_by_the_bits_in_use(encoder, bits):
    values = GRAY[..., None]

    assert has_values(
        decode_content(ENCODERS[encoder](to_16_bit_samples(values, bits))), values
    )


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("encoder", COLOUR_ENCODERS)
def test_16_bit_colours_are_scaled_by_the_bits_in_use(encoder, bits):
    assert has_values(
        decode_content(ENCODERS[encoder](to_16_bit_samples(COLOUR, bits))), COLOUR
    )


@pytest.mark.parametrize("highest", [300, 1000, 40_000])
@pytest.mark.parametrize("values", [GRAY[..., None], COLOUR], ids=["gray", "colour"])
def test_pnm_is_scaled_by_its_stated_maximum(values, highest):
    samples = np.round(values * highest).astype(np.uint16)

    page = decode_content(binary_pnm(samples, highest))

    assert has_values(page, values)
    assert page.warnings == ()


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("values", [GRAY[..., None], COLOUR], ids=["gray", "colour"])
def test_truncated_16_bit_pnm_is_read_with_warning(values, bits):
    content = binary_pnm(to_16_bit_samples(values, bits))

    page = decode_content(content[: len(content) * 2 // 3])

    assert [warning.code for warning in page.warnings] == ["truncated_image"]
    shown = np.asarray(to_image(page)).astype(int)
    half = len(shown) // 2
    expected = np.broadcast_to(values, shown.shape)[:half] * 255
    assert np.abs(shown[:half] - expected).max() <= 2
    assert shown[-1].min() == 255


def test_16_bit_pnm_without_a_row_is_unreadable():
    content = binary_pnm(to_16_bit_samples(COLOUR, 16))

    with pytest.raises(UnreadableDocumentError, match="the image data end early"):
        decode_content(content[:100])


@pytest.mark.parametrize("num_hot", [1, 20])
@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_hot_pixels_do_not_darken_a_page(encoder, bits, num_hot):
    samples = to_16_bit_samples(GRAY[..., None], bits)
    places = np.random.default_rng(0).choice(samples.size, num_hot, replace=False)
    samples.flat[places] = 65_535

    page = np.asarray(to_image(decode_content(ENCODERS[encoder](samples)))).astype(int)

    expected = np.broadcast_to(GRAY[..., None] * 255, page.shape)
    assert (np.abs(page - expected) > 2).any(axis=2).sum() <= num_hot


@pytest.mark.parametrize("colour", [2, 6])
def test_hot_pixels_do_not_darken_a_coloured_png(colour):
    values = COLOUR
    if colour == 6:
        values = np.concatenate((COLOUR, np.full_like(COLOUR[..., :1], 16)), axis=2)
    samples = np.round(values * 4095).astype(np.uint16)
    samples[5, 5, 0] = 60_000

    page = np.asarray(
        to_image(decode_content(encode_16_bit_png(samples, colour)))
    ).astype(int)

    assert (np.abs(page - COLOUR * 255) > 2).any(axis=2).sum() <= 1


@pytest.mark.parametrize("photometric", [0, 1])
def test_connected_bright_pixels_are_not_hot_pixels(photometric):
    values = np.full(GRAY.shape, 200, "<u2")
    values[100:106, 50:60] = 65_535

    content = wrap_in_tiff(values.tobytes(), bits=16, photometric=photometric)
    page = np.asarray(to_image(decode_content(content)))

    assert abs(int(page[102, 55, 0]) - int(page[0, 0, 0])) > 240
    assert int(page[0, 0, 0]) in (1, 254)


def test_hot_pixels_do_not_lighten_cmyk():
    samples = np.round(to_cmyk(COLOUR) * 4095).astype(np.uint16)
    samples[5, 5, 0] = 65_535

    page = np.asarray(
        to_image(decode_content(encode_tiff(samples, photometric="separated")))
    ).astype(int)

    assert (np.abs(page - COLOUR * 255) > 3).any(axis=2).sum() <= 1


@pytest.mark.parametrize("kind", ["i1", "i2", "i4"])
@pytest.mark.parametrize("lowest", [0, -1], ids=["positive", "full range"])
@pytest.mark.parametrize("coloured", [False, True], ids=["gray", "rgb"])
def test_signed_samples_of_any_size_are_decoded_equally(kind, lowest, coloured):
    most = np.iinfo(kind).max
    least = lowest * (most + 1.0)
    values = COLOUR if coloured else GRAY[..., None]
    values = (values - values.min()) / (values.max() - values.min())
    samples = np.round(least + values * (most - least)).astype(kind)

    page = decode_content(
        encode_tiff(samples, photometric="rgb" if coloured else "minisblack")
    )

    assert has_values(page, values)


def test_transparent_black_letters_get_a_black_background():
    image = Image.fromarray(GRAY >= 0.5)
    content = add_transparent_colour(as_png(image), (0,))

    page = decode_content(content)

    assert has_values(page, (GRAY >= 0.5)[..., None])
