"""Tests of damaged images: their readable part, warnings and errors."""

from __future__ import annotations

import random
import re
import struct
import zlib

import pytest
from PIL import Image

from handler.errors import UnreadableDocumentError
from tests.documents import (
    as_bmp,
    as_gif,
    as_heic,
    as_jpeg,
    as_png,
    as_tiff,
    as_webp,
    encoded,
    quadrants,
    text_page,
)
from tests.handler.preprocess.reading import (
    colour_at,
    darkest_level,
    decode_content,
    to_image,
)

SIZE = (512, 512)
DARK = Image.effect_noise(SIZE, 30).point(lambda value: value // 4).convert("RGB")


def as_plain_gif(image: Image.Image) -> bytes:
    return as_gif(image, interlace=0)


def as_pnm(image: Image.Image) -> bytes:
    return encoded(image, "PPM")


def insert_chunk(png: bytes, kind: bytes, content: bytes, checksum: int) -> bytes:
    """Insert a chunk with the given checksum after the header of a PNG."""
    chunk = struct.pack(">I", len(content)) + kind + content
    return png[:33] + chunk + struct.pack(">I", checksum) + png[33:]


def test_jpeg_without_its_end_marker_is_complete():
    content = as_jpeg(text_page(size=SIZE))

    page = decode_content(content[:-2])

    assert page.warnings == ()
    assert page.pixels == decode_content(content).pixels


@pytest.mark.parametrize("encode", [as_jpeg, as_png, as_plain_gif, as_tiff, as_pnm])
def test_missing_part_of_an_image_is_white(encode):
    content = encode(DARK)

    page = decode_content(content[: len(content) * 6 // 10])

    assert [warning.code for warning in page.warnings] == ["truncated_image"]
    assert " % of the image" in page.warnings[0].detail
    assert max(colour_at(page, 0.5, 0.2)) < 128
    assert colour_at(page, 0.5, 0.95) == (255, 255, 255)


def test_missing_part_of_a_bmp_is_its_top():
    content = as_bmp(DARK)

    page = decode_content(content[: len(content) * 6 // 10])

    assert "40 %" in page.warnings[0].detail
    assert colour_at(page, 0.5, 0.05) == (255, 255, 255)
    assert max(colour_at(page, 0.5, 0.8)) < 128


def test_missing_part_of_a_bilevel_png_is_white():
    bars = Image.new("1", DARK.size, 1)
    for top in range(0, bars.height, 10):
        bars.paste(0, (0, top, bars.width, top + 4))
    content = as_png(bars)

    page = decode_content(content[: len(content) * 6 // 10])

    assert page.warnings[0].code == "truncated_image"
    assert darkest_level(page, 0.0, 0.2) < 128
    assert darkest_level(page, 0.9, 1.0) == 255


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGBA", "I;16"])
def test_truncated_png_of_every_mode_has_a_warning(mode):
    image = DARK.convert("L").convert("I;16") if mode == "I;16" else DARK.convert(mode)
    content = as_png(image)

    page = decode_content(content[: len(content) * 6 // 10])

    assert page.warnings[0].code == "truncated_image"
    assert colour_at(page, 0.5, 0.95) == (255, 255, 255)


def test_truncated_progressive_jpeg_is_read_with_warning():
    content = as_jpeg(text_page(size=SIZE), progressive=True)

    page = decode_content(content[: len(content) * 7 // 10])

    assert [warning.code for warning in page.warnings] == ["truncated_image"]
    assert min(to_image(page).convert("L").tobytes()) < 128


def test_progressive_jpeg_without_its_end_marker_is_complete():
    content = as_jpeg(text_page(size=SIZE), progressive=True)

    assert decode_content(content[:-2]).warnings == ()


@pytest.mark.parametrize(
    "content",
    [
        as_png(DARK)[:60],
        as_bmp(DARK)[:60],
        as_jpeg(DARK)[: as_jpeg(DARK).index(b"\xff\xda") + 14],
    ],
    ids=["png", "bmp", "jpeg"],
)
def test_image_without_any_pixel_is_an_error(content):
    with pytest.raises(UnreadableDocumentError):
        decode_content(content)


@pytest.mark.parametrize("kind", [b"tEXt", b"gAMA", b"pHYs"])
def test_wrong_checksum_of_ancillary_chunk_is_tolerated(kind):
    content = as_png(quadrants(SIZE))
    damaged = insert_chunk(content, kind, b"a\0bcdefgh"[:9], zlib.crc32(b"other"))

    page = decode_content(damaged)

    assert page.warnings == ()
    assert page.pixels == decode_content(content).pixels


def test_damage_in_the_middle_of_a_png_has_a_warning():
    content = bytearray(as_png(DARK))
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)

    page = decode_content(bytes(content))

    assert [warning.code for warning in page.warnings] == ["truncated_image"]


def get_unreadable_reason(content: bytes) -> str:
    """Return the reason why a file cannot be read; "" if it can."""
    try:
        decode_content(content)
    except UnreadableDocumentError as error:
        return error.detail.partition("cannot be read: ")[2]
    return ""


@pytest.mark.parametrize("compression", ["tiff_lzw", "group4", "jpeg", "tiff_deflate"])
@pytest.mark.parametrize("big_tiff", [False, True])
def test_error_of_truncated_tiff_says_it_ends_early(compression, big_tiff):
    image = text_page(size=(200, 200))
    if compression == "group4":
        image = image.convert("1")
    content = as_tiff(image, compression=compression, big_tiff=big_tiff)

    reasons = {
        get_unreadable_reason(content[:-num_missing])
        for num_missing in (*range(4, 100, 12), len(content) // 2)
    }

    expected_reason = re.compile(r"ends? (early|before)|is missing$|^$")
    assert {reason for reason in reasons if not expected_reason.search(reason)} == set()


ENCODINGS = {
    "AVIF": lambda image: encoded(image, "AVIF"),
    "HEIC": as_heic,
    "JPEG 2000": lambda image: encoded(image, "JPEG2000"),
    "WebP": as_webp,
    "TIFF": lambda image: as_tiff(image, compression="jpeg"),
}
DECODER_WORDS = re.compile(
    r"(?i)decod|stream|frame|object|plugin|invalid|read |bytes|error"
)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_errors_do_not_quote_messages_of_decoders(encoding):
    content = ENCODINGS[encoding](text_page(size=(128, 96)))
    damage = random.Random(0)
    reasons = set()

    for _ in range(25):
        damaged = bytearray(content)
        for _ in range(damage.randrange(3)):
            damaged[damage.randrange(40, len(damaged))] = damage.randrange(256)
        end = damage.randrange(60, len(damaged))
        reasons.add(get_unreadable_reason(bytes(damaged[:end])))

    assert len(reasons) > 1 or "" not in reasons
    assert {r for r in reasons if DECODER_WORDS.search(r)} == set()


def test_unsupported_feature_of_an_image_is_named():
    content = bytearray(as_bmp(text_page(size=(64, 64))))
    content[28:30] = (7).to_bytes(2, "little")

    with pytest.raises(UnreadableDocumentError, match="pixel depth"):
        decode_content(bytes(content))
