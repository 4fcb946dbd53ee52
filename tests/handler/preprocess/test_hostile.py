"""Tests that hostile documents are rejected, or read within time and memory bounds."""

from __future__ import annotations

import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from handler.errors import (
    DocumentTooLargeError,
    RequestError,
    UnreadableDocumentError,
)
from handler.preprocess import Limits
from handler.schema import Page
from tests.documents import (
    as_bmp,
    as_gif,
    as_jpeg,
    as_png,
    as_tiff,
    as_webp,
    compressed_zeros,
    gif_with_a_frame_larger_than_itself,
    huge_png_header,
    pdf,
    pdf_with_form_and_annotation,
    png_bomb,
    png_idat_bomb,
    png_of,
    text_page,
)
from tests.handler.preprocess.reading import decode_content, inspect_content

PAGE = text_page(size=(200, 260))
SAMPLES = {
    "png": as_png(PAGE),
    "png, palette": as_png(PAGE.convert("P"), transparency=0),
    "jpeg": as_jpeg(PAGE),
    "jpeg, progressive": as_jpeg(PAGE, progressive=True),
    "webp": as_webp(PAGE),
    "gif": as_gif(PAGE),
    "bmp": as_bmp(PAGE),
    "tiff": as_tiff(PAGE, PAGE),
    "tiff, lzw": as_tiff(PAGE, PAGE, compression="tiff_lzw"),
    "pdf": pdf(),
    "pdf, form": pdf_with_form_and_annotation(),
}
MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x20\0\0\0\x20",
    b"\xff\xd8\xff",
    b"\xff\xd8\xff\xc0\0\x11\x08\0\x20\0\x20\x03",
    b"GIF89a\x20\0\x20\0",
    b"BM",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"MM\0+\0\x08\0\0",
    b"RIFF\x40\0\0\0WEBPVP8 ",
    b"%PDF-1.7\n1 0 obj\n",
)


def decode_all_pages(content: bytes) -> list[Page]:
    """Decode all pages of a document. Raises RequestError for the first bad page."""
    return [
        decode_content(content, n + 1)
        for n in range(inspect_content(content).num_pages)
    ]


def decode_or_reject(content: bytes) -> bool:
    """Return True if the document is read, False if it raises RequestError.

    Other exceptions fail the test.
    """
    try:
        decode_all_pages(content)
    except RequestError:
        return False
    return True


def limit_memory(num_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (num_bytes, num_bytes))


def decode_in_little_memory(content: bytes, num_bytes: int) -> int:
    """Decode a page in a process limited to `num_bytes` of memory; return its width."""
    with ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=limit_memory,
        initargs=(num_bytes,),
    ) as processes:
        return processes.submit(decode_content, content).result(timeout=60).width


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_are_readable(kind):
    assert decode_or_reject(SAMPLES[kind])


@pytest.mark.parametrize("kind", SAMPLES)
def test_truncated_document_is_read_or_rejected(kind):
    content = SAMPLES[kind]
    for sixteenth in range(16):
        decode_or_reject(content[: len(content) * sixteenth // 16])


@pytest.mark.parametrize("kind", ["webp", "tiff, lzw"])
def test_image_without_its_second_half_is_rejected(kind):
    content = SAMPLES[kind]

    assert not decode_or_reject(content[: len(content) // 2])


@pytest.mark.parametrize("magic", MAGIC)
@settings(max_examples=40, deadline=None)
@given(rest=st.binary(max_size=200))
def test_random_bytes_after_magic_are_read_or_rejected(magic, rest):
    decode_or_reject(magic + rest)


@pytest.mark.parametrize("kind", SAMPLES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_corrupt_document_is_read_or_rejected(kind, data):
    content = bytearray(SAMPLES[kind])
    # Prefer the beginning, which has lengths and offsets.
    places = st.one_of(st.integers(0, 99), st.integers(0, len(content) - 1))
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))

    decode_or_reject(bytes(content))


@pytest.mark.parametrize(
    "content",
    [huge_png_header(), png_bomb(), gif_with_a_frame_larger_than_itself()],
    ids=["header", "bomb", "frame"],
)
def test_too_large_image_is_rejected_before_decoding(content):
    began = time.process_time()

    for function in (inspect_content, decode_content):
        with pytest.raises(DocumentTooLargeError, match="150,000,000 pixels"):
            function(content)

    assert time.process_time() - began < 1


@pytest.mark.parametrize("encode", [as_png, as_jpeg, as_gif, as_bmp, as_tiff])
@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1)])
def test_extremely_thin_image_is_rejected_before_decoding(encode, size):
    content = encode(Image.new("L", size))[:-20]

    # If the image were decoded, the error would be about its missing end.
    with pytest.raises(UnreadableDocumentError, match="times as long as it is wide"):
        decode_content(content)


def test_extremely_thin_webp_is_rejected():
    with pytest.raises(UnreadableDocumentError, match="times as long as it is wide"):
        decode_content(as_webp(Image.new("L", (16_000, 1))))


def test_extremely_thin_tiff_frame_is_rejected_early():
    content = as_tiff(PAGE, Image.new("L", (1, 20_000)))[:-20]

    assert decode_content(content, 1).width == PAGE.width
    with pytest.raises(UnreadableDocumentError, match="times as long as it is wide"):
        decode_content(content, 2)


def test_thin_png_is_rejected_in_little_memory():
    content = png_of(
        1, Limits().max_pixels, bits=8, colour=0, data=compressed_zeros(200_000_000)
    )

    with pytest.raises(UnreadableDocumentError, match="times as long as it is wide"):
        decode_in_little_memory(content, 512 << 20)


def test_png_bomb_below_the_limit_needs_bounded_memory():
    side = int(Limits().max_pixels ** 0.5)

    assert decode_in_little_memory(png_bomb(side), 768 << 20) == side


@pytest.mark.slow
def test_a4_at_1200_dpi_is_read_in_one_gibibyte():
    width, height = 9921, 14_031
    data = compressed_zeros(height * (1 + 3 * width))

    content = png_of(width, height, bits=8, colour=2, data=data)

    assert decode_in_little_memory(content, 1 << 30) == width


def test_surplus_image_data_are_not_decompressed():
    assert decode_in_little_memory(png_idat_bomb(), 512 << 20) == 64


def test_running_out_of_memory_raises_request_error():
    with pytest.raises(RequestError, match="needs too much memory"):
        decode_in_little_memory(
            png_of(
                11_000,
                11_000,
                bits=8,
                colour=2,
                data=compressed_zeros(11_000 * 33_001),
            ),
            512 << 20,
        )
