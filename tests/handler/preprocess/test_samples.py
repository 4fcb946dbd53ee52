"""Tests of the depth, polarity, planes and alpha of samples in TIFF, PNG and JPEG."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageChops

from handler.errors import UnreadableDocumentError
from handler.preprocess.image.plugins import list_plugins
from tests.documents import as_jpeg, as_png, as_tiff, png_of, text_page
from tests.handler.preprocess.reading import colour_at, decode_content, to_image

# The model's input has the size of this image, so that it is not resampled.
SIZE = (288, 256)
GRAY = np.asarray(text_page(size=SIZE).convert("L"), np.float64) / 255
COLOUR = np.stack([GRAY, np.maximum(GRAY, 0.25), GRAY * 0.75], axis=2)
OPAQUE_ALPHA = np.ones((*GRAY.shape, 1))
DTYPES_BY_BITS = {8: "u1", 10: "u2", 12: "u2", 14: "u2", 16: "u2", 32: "u4"}


def encode_tiff(samples, **options):
    """Return a TIFF of an array of shape (rows, columns, samples)."""
    if options.get("planarconfig") == "separate":
        samples = np.moveaxis(samples, 2, 0)
    elif samples.shape[2] == 1:
        samples = samples[..., 0]
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.ascontiguousarray(samples), **options)
    return stream.getvalue()


def pack_samples(values, bits):
    """Convert values from 0 to 1 to samples of a number of bits or of a float type."""
    if isinstance(bits, str):
        return values.astype(bits)
    return np.round(values * (2.0**bits - 1)).astype(DTYPES_BY_BITS[bits])


def to_cmyk(colour):
    """Convert RGB values to CMYK values, both from 0 to 1."""
    black = 1 - colour.max(axis=2, keepdims=True)
    parts = (1 - colour - black) / np.maximum(1 - black, 1e-9)
    return np.concatenate((parts, black), axis=2)


def has_values(page, values, tolerance=2):
    """Return True if the pixels of a page are `values` from 0 to 1, gray or RGB."""
    expected = np.broadcast_to(values, (*GRAY.shape, 3)) * 255
    shown = np.asarray(to_image(page), np.float64)
    return np.abs(shown - expected).max() <= tolerance


# For each interpretation of samples: the samples of a TIFF, and the values of its page.
SAMPLES_AND_PAGES = {
    "minisblack": (GRAY[..., None], GRAY[..., None]),
    "miniswhite": (1 - GRAY[..., None], GRAY[..., None]),
    "rgb": (COLOUR, COLOUR),
    "separated": (to_cmyk(COLOUR), COLOUR),
    "alpha": (np.concatenate((GRAY[..., None], OPAQUE_ALPHA), axis=2), GRAY[..., None]),
    "rgb alpha": (np.concatenate((COLOUR, OPAQUE_ALPHA), axis=2), COLOUR),
}


@pytest.mark.parametrize("tile", [None, (32, 32)])
@pytest.mark.parametrize(
    ("interpretation", "planar"),
    [
        (interpretation, planar)
        for interpretation, (values, _) in SAMPLES_AND_PAGES.items()
        for planar in ("contig", "separate")
        if planar == "contig" or values.shape[2] > 1  # one sample has one plane
    ],
)
@pytest.mark.parametrize(
    "bits", [8, 10, 12, 14, 16, 32, "float16", "float32", "float64"]
)
def test_depth_polarity_and_planes_do_not_change_a_page(
    bits, interpretation, planar, tile
):
    samples, page_values = SAMPLES_AND_PAGES[interpretation]
    photometric = {"alpha": "minisblack", "rgb alpha": "rgb"}.get(
        interpretation, interpretation
    )
    extra = {"extrasamples": [2]} if "alpha" in interpretation else {}
    is_single_sample = samples.shape[2] == 1
    content = encode_tiff(
        pack_samples(samples, bits),
        photometric=photometric,
        tile=tile,
        rowsperstrip=None if tile else 37,
        compression="zlib",
        **({} if is_single_sample else {"planarconfig": planar}),
        **extra,
    )

    assert has_values(decode_content(content), page_values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_byte_order_and_compression_do_not_change_a_page(order, compression, bigtiff):
    content = encode_tiff(
        pack_samples(COLOUR, 16),
        photometric="rgb",
        planarconfig="separate",
        byteorder=order,
        compression=compression,
        bigtiff=bigtiff,
    )

    assert has_values(decode_content(content), COLOUR)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits"])
def test_16_bit_samples_with_white_zero_are_inverted(compression):
    samples = np.round((1 - GRAY) * 65_535).astype(np.uint16)
    image = Image.fromarray(samples)

    content = as_tiff(image, compression=compression, tiffinfo={262: 0})

    assert has_values(decode_content(content), GRAY[..., None])


def test_big_endian_bigtiff_of_8_bits_is_read():
    content = encode_tiff(
        pack_samples(COLOUR, 8), photometric="rgb", byteorder=">", bigtiff=True
    )

    assert has_values(decode_content(content), COLOUR)


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_horizontal_predictor_is_undone(bits, planar, tile):
    content = encode_tiff(
        pack_samples(COLOUR, bits),
        photometric="rgb",
        planarconfig=planar,
        tile=tile,
        compression="zlib",
        predictor=2,
    )

    assert has_values(decode_content(content), COLOUR)


def encode_float_differences(samples):
    """Encode rows of floats with predictor 3: sort bytes by significance, then diff."""
    rows = samples.astype(f">f{samples.itemsize}").view(np.uint8)
    rows = rows.reshape(len(samples), -1, samples.itemsize).transpose(0, 2, 1)
    flat = rows.reshape(len(samples), -1)
    return np.diff(flat, axis=1, prepend=np.uint8(0)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_float_predictor_is_undone(kind):
    samples = GRAY.astype(kind)
    packed = zlib.compress(encode_float_differences(samples).tobytes())
    bits = samples.itemsize * 8

    content = wrap_in_tiff(
        packed, bits=bits, compression=8, predictor=3, sample_format=3
    )

    assert has_values(decode_content(content), GRAY[..., None])


def wrap_in_tiff(
    data, *, bits, photometric=1, compression=1, predictor=1, sample_format=1, **more
):
    """Return a TIFF with one strip of gray samples, whose bytes are given."""
    width, height = SIZE
    tags = {
        256: width,
        257: height,
        258: bits,
        259: compression,
        262: photometric,
        273: 8,
        277: 1,
        278: height,
        279: len(data),
        317: predictor,
        339: sample_format,
        **{int(tag.removeprefix("tag_")): value for tag, value in more.items()},
    }
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())
    )
    padding = bytes(len(data) % 2)
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(data) + len(padding))
        + data
        + padding
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [2, 4, 6, 10, 12, 14, 24])
def test_samples_across_byte_boundaries_are_unpacked(bits, photometric):
    most = (1 << bits) - 1
    values = np.round((GRAY if photometric else 1 - GRAY) * most).astype(np.uint32)
    all_bits = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    data = np.packbits(
        all_bits.reshape(len(GRAY), -1).astype(np.uint8), axis=1
    ).tobytes()

    page = decode_content(wrap_in_tiff(data, bits=bits, photometric=photometric))

    assert has_values(page, np.round(GRAY * most)[..., None] / most)


def test_stated_maximum_sample_value_is_white():
    data = np.round(GRAY * 3000).astype("<u2").tobytes()

    page = decode_content(wrap_in_tiff(data, bits=16, tag_281=3000))

    assert has_values(page, GRAY[..., None])


def test_dim_16_bit_page_is_not_rescaled():
    values = 0.3 * GRAY

    page = decode_content(
        encode_tiff(pack_samples(values[..., None], 16), photometric="minisblack")
    )

    assert has_values(page, values[..., None])


def test_blank_page_with_white_zero_stays_white():
    noise = np.random.default_rng(0).integers(0, 500, GRAY.shape).astype("<u2")

    page = decode_content(wrap_in_tiff(noise.tobytes(), bits=16, photometric=0))

    assert min(page.pixels) >= 253


def test_extra_samples_without_meaning_are_ignored():
    samples = np.concatenate((COLOUR, np.zeros_like(OPAQUE_ALPHA)), axis=2)
    content = encode_tiff(
        pack_samples(samples, 16), photometric="rgb", extrasamples=[0]
    )

    assert has_values(decode_content(content), COLOUR)


def test_premultiplied_alpha_is_undone():
    samples = np.concatenate((COLOUR * 0.5, OPAQUE_ALPHA * 0.5), axis=2)
    content = encode_tiff(
        pack_samples(samples, 16), photometric="rgb", extrasamples=[1]
    )

    assert has_values(decode_content(content), COLOUR * 0.5 + 0.5, tolerance=3)


def test_orientation_of_16_bit_tiff_is_applied_once():
    rotated = np.rot90(GRAY, 1)
    content = encode_tiff(
        pack_samples(rotated[..., None], 16),
        photometric="minisblack",
        extratags=[(274, 3, 1, 6, True)],
    )

    page = decode_content(content)

    assert has_values(page, GRAY[..., None])


def test_truncated_samples_are_rejected():
    content = encode_tiff(
        pack_samples(COLOUR, 16), photometric="rgb", planarconfig="separate"
    )

    with pytest.raises(UnreadableDocumentError, match="the image data end early"):
        decode_content(content[:-2000])


def test_plugin_reads_a_file_like_a_mapping():
    content = encode_tiff(
        pack_samples(COLOUR, 16), photometric="rgb", planarconfig="separate"
    )

    with Image.open(io.BytesIO(content), formats=list_plugins("TIFF")) as image:
        shown = np.asarray(image, np.float64)

    assert np.abs(shown - COLOUR * 255).max() <= 2


def encode_16_bit_png(samples, colour, transparency=None):
    """Return a PNG of 16 bits per sample from a (rows, columns, samples) array."""
    rows = samples.astype(">u2").reshape(len(samples), -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    content = png_of(*SIZE, bits=16, colour=colour, data=data)
    if transparency is None:
        return content
    return add_transparent_colour(content, transparency)


def add_transparent_colour(content, samples):
    """Insert a chunk into a PNG that makes the colour `samples` transparent."""
    chunk = b"tRNS" + struct.pack(f">{len(samples)}H", *samples)
    checksum = struct.pack(">I", zlib.crc32(chunk))
    whole = struct.pack(">I", len(chunk) - 4) + chunk + checksum
    place = content.index(b"IDAT") - 4
    return content[:place] + whole + content[place:]


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_16_bit_png_is_scaled_by_the_bits_in_use(bits, colour):
    values = COLOUR if colour in (2, 6) else GRAY[..., None]
    samples = values
    if colour in (4, 6):
        samples = np.concatenate((values, OPAQUE_ALPHA), axis=2)

    page = decode_content(
        encode_16_bit_png(
            pack_samples(samples, bits)
            if bits == 16
            else np.round(samples * (2**bits - 1)),
            colour,
        )
    )

    assert has_values(page, values)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_transparent_gray_of_any_depth_becomes_white(bits):
    width, height = SIZE
    most = (1 << bits) - 1
    hidden = most // 3 or most
    values = np.full((height, width), hidden, np.uint32)
    values[:, : width // 2] = 0
    each = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(each.reshape(height, -1).astype(np.uint8), axis=1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    content = png_of(width, height, bits=bits, colour=0, data=data)

    page = decode_content(add_transparent_colour(content, (hidden,)))

    assert colour_at(page, 0.25, 0.5) == (0, 0, 0)
    assert colour_at(page, 0.75, 0.5) == (255,) * 3


def test_transparent_16_bit_colour_becomes_white():
    samples = np.zeros((SIZE[1], SIZE[0], 3), np.uint16)
    samples[:, SIZE[0] // 2 :] = (0x1234, 0x5678, 0x9ABC)

    page = decode_content(encode_16_bit_png(samples, 2, (0x1234, 0x5678, 0x9ABC)))

    assert colour_at(page, 0.25, 0.5) == (0, 0, 0)
    assert colour_at(page, 0.75, 0.5) == (255, 255, 255)


def without_adobe_marker(content):
    start = content.index(b"\xff\xee")
    length = int.from_bytes(content[start + 2 : start + 4], "big")
    return content[:start] + content[start + 2 + length :]


def test_cmyk_jpeg_without_adobe_marker_is_not_inverted():
    # Pillow inverts CMYK when it writes, so the inverse of the page is stored as plain.
    image = ImageChops.invert(text_page(size=SIZE).convert("CMYK"))
    content = without_adobe_marker(as_jpeg(image, quality=95))

    page = decode_content(content)

    assert min(colour_at(page, 0.99, 0.99)) > 240


def test_inverted_cmyk_jpeg_without_marker_is_detected():
    image = text_page(size=SIZE).convert("CMYK")
    content = without_adobe_marker(as_jpeg(image, quality=95))

    page = decode_content(content)

    assert min(colour_at(page, 0.99, 0.99)) > 240


def test_cmyk_jpeg_with_adobe_marker_is_inverted():
    page = decode_content(as_jpeg(text_page(size=SIZE).convert("CMYK"), quality=95))

    assert min(colour_at(page, 0.99, 0.99)) > 240


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({259: 34712}, r"compression 34712 \(JPEG 2000\)"),
        ({259: 50001}, r"compression 50001 \(WebP\)"),
        ({259: 12345}, r"compression 12345 \(unknown\)"),
        ({262: 32803}, r"photometric interpretation 32803 \(raw sensor data\)"),
        ({258: 48, 339: 1}, "samples of 48 bits"),
        ({339: 3, 258: 24}, "floating-point samples of 24 bits"),
        ({339: 5}, "sample format 5"),
        ({277: 1, 262: 2}, "RGB with 1 samples"),
        ({332: 2, 262: 5, 277: 4}, "inks other than CMYK"),
        ({258: 12, 259: 7}, "JPEG compression of samples of 12 bits"),
        ({317: 9, 258: 16}, "predictor 9"),
    ],
)
def test_unsupported_tiff_feature_is_named(tags, words):
    options = {f"tag_{tag}": value for tag, value in tags.items()}
    content = wrap_in_tiff(bytes(SIZE[0] * SIZE[1] * 6), bits=8, **options)

    with pytest.raises(
        UnreadableDocumentError, match=f"not supported in TIFF: {words}"
    ):
        decode_content(content)


def test_error_omits_the_error_number_of_the_decoder():
    content = as_tiff(text_page(size=SIZE), compression="tiff_lzw")
    start = int.from_bytes(content[4:8], "little")
    damaged = content.replace(content[8:40], b"\xff" * 32) if start > 40 else content

    with pytest.raises(UnreadableDocumentError) as caught:
        decode_content(damaged[:-1] if damaged == content else damaged)

    assert "image data are damaged or end early" in caught.value.detail


def test_8_bit_gray_png_is_decoded_by_pillow():
    image = text_page(size=SIZE).convert("L")

    assert decode_content(as_png(image)).pixels == image.convert("RGB").tobytes()


def test_12_bit_tiff_and_png_are_decoded_equally():
    samples = np.round(GRAY[..., None] * 4095).astype(np.uint16)

    from_tiff = decode_content(encode_tiff(samples, photometric="minisblack"))

    assert from_tiff.pixels == decode_content(encode_16_bit_png(samples, 0)).pixels
    assert isinstance(to_image(from_tiff), Image.Image)
