"""Tests of the pages of a TIFF and of damaged chains of directories."""

from __future__ import annotations

import struct
import time

import pytest
from PIL import Image

from handler.errors import DocumentTooLargeError, RequestError, UnreadableDocumentError
from handler.preprocess import Limits
from tests.documents import as_tiff, tiff_of_many_pages, tiff_whose_pages_loop
from tests.handler.preprocess.reading import colour_at, decode_content, inspect_content

GRAYS = (0, 60, 120, 180, 240)
FRAMES = [Image.new("L", (64, 64), gray) for gray in GRAYS]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"big_tiff": True},
        {"compression": "tiff_lzw"},
        {"compression": "tiff_deflate", "big_tiff": True},
    ],
)
def test_every_tiff_frame_is_a_page(options):
    content = as_tiff(*FRAMES, **options)

    assert inspect_content(content).num_pages == 5
    grays = [colour_at(decode_content(content, n), 0.5, 0.5)[0] for n in range(1, 6)]
    assert grays == list(GRAYS)


@pytest.mark.parametrize("compression", ["group3", "group4"])
def test_fax_compressions_are_read(compression):
    frames = [Image.new("1", (64, 64), gray) for gray in (0, 1)]
    content = as_tiff(*frames, compression=compression)

    assert colour_at(decode_content(content, 1), 0.5, 0.5) == (0, 0, 0)
    assert colour_at(decode_content(content, 2), 0.5, 0.5) == (255, 255, 255)


def test_big_endian_tiff_is_read():
    content = as_tiff(Image.new("I;16B", (64, 64), 65_535))

    assert content.startswith(b"MM")
    assert inspect_content(content).num_pages == 1


def test_damaged_first_frame_fails_alone():
    content = bytearray(as_tiff(*FRAMES[:2]))
    first = int.from_bytes(content[4:8], "little")
    content[first + 2 : first + 14] = bytes(12)  # its first tag, the width

    with pytest.raises(UnreadableDocumentError, match="page 1 cannot be read"):
        decode_content(bytes(content), 1)

    assert inspect_content(bytes(content)).num_pages == 2
    assert colour_at(decode_content(bytes(content), 2), 0.5, 0.5)[0] == 60


def test_frame_above_the_pixel_limit_fails_alone():
    content = as_tiff(Image.new("L", (64, 64)), Image.new("L", (640, 640)))
    limits = Limits(max_pixels=10_000)

    assert inspect_content(content, limits=limits).num_pages == 2
    assert decode_content(content, 1, limits=limits).width == 64
    with pytest.raises(DocumentTooLargeError, match="page 2 is 640 x 640 pixels, 41"):
        decode_content(content, 2, limits=limits)


REDUCED, PAGE_OF_MANY, MASK = {254: 1}, {254: 2}, {254: 4}
OLD_REDUCED, OLD_PAGE = {255: 2}, {255: 3}


def tiff_of_types(*types, **options):
    """Return a TIFF whose frames have the given tags and the grays of `GRAYS`."""
    frames = [frame.copy() for frame in FRAMES[: len(types)]]
    for frame, tags in zip(frames, types, strict=True):
        frame.encoderinfo = {"tiffinfo": tags}
    return as_tiff(*frames, tiffinfo=types[0], **options)


@pytest.mark.parametrize("big_tiff", [False, True])
@pytest.mark.parametrize(
    ("types", "pages"),
    [
        (({}, REDUCED, {}), (0, 2)),
        ((REDUCED, {}, OLD_REDUCED), (1,)),
        (({254: 0}, REDUCED, REDUCED, MASK), (0,)),
        ((PAGE_OF_MANY, PAGE_OF_MANY, OLD_PAGE), (0, 1, 2)),
        (({254: 3}, {254: 6}, {254: 2}), (2,)),
        ((REDUCED, REDUCED), (0, 1)),
        ((REDUCED, MASK), (0,)),
        ((MASK,), (0,)),
    ],
)
def test_thumbnails_overviews_and_masks_are_not_pages(types, pages, big_tiff):
    content = tiff_of_types(*types, big_tiff=big_tiff)

    assert inspect_content(content).num_pages == len(pages)
    grays = [
        colour_at(decode_content(content, n + 1), 0.5, 0.5)[0]
        for n in range(len(pages))
    ]
    assert grays == [GRAYS[page] for page in pages]


def test_damaged_frame_before_a_thumbnail_fails_alone():
    content = bytearray(tiff_of_types({}, REDUCED, {}))
    first = int.from_bytes(content[4:8], "little")
    place = content.index(struct.pack("<HH", 256, 4), first)
    content[place : place + 12] = struct.pack("<HHII", 256, 4, 1, 0)

    assert inspect_content(bytes(content)).num_pages == 2
    with pytest.raises(UnreadableDocumentError, match="page 1"):
        decode_content(bytes(content), 1)
    assert colour_at(decode_content(bytes(content), 2), 0.5, 0.5)[0] == GRAYS[2]


def test_missing_page_is_unreadable():
    with pytest.raises(UnreadableDocumentError, match="no page 6"):
        decode_content(as_tiff(*FRAMES), 6)


def test_cycle_of_frames_is_counted_once():
    content = tiff_whose_pages_loop()

    assert inspect_content(content).num_pages == 2
    assert colour_at(decode_content(content, 2), 0.5, 0.5) == (128, 128, 128)


def test_tiff_with_a_million_frames_is_rejected_early():
    content = tiff_of_many_pages(1_000_000)
    began = time.process_time()

    with pytest.raises(DocumentTooLargeError, match="more than 10000 pages"):
        inspect_content(content)

    assert time.process_time() - began < 2


def test_truncated_last_frame_counts_as_a_page():
    content = as_tiff(*FRAMES[:2])
    cut = content[: len(content) // 2]

    assert inspect_content(cut).num_pages == 2
    assert colour_at(decode_content(cut, 1), 0.5, 0.5)[0] == GRAYS[0]
    with pytest.raises(UnreadableDocumentError, match="page 2 cannot be read"):
        decode_content(cut, 2)


@pytest.mark.parametrize("content", [b"II*\0", b"II*\0\0\0\0\0", b"MM\0+\0\x08"])
def test_tiff_without_frames_is_rejected(content):
    with pytest.raises(UnreadableDocumentError, match="ends before its first page"):
        inspect_content(content)


def test_truncated_tiff_is_read_or_rejected():
    content = as_tiff(*FRAMES, compression="tiff_lzw")
    for length in range(4, len(content), len(content) // 40):
        try:
            for number in range(1, inspect_content(content[:length]).num_pages + 1):
                decode_content(content[:length], number)
        except RequestError:
            pass
