"""Tests of remote calls: forged replies, and decoding in a confined process."""

from __future__ import annotations

import os
import pickle
import signal
from typing import Any

import pytest
from PIL import Image

from handler import postprocess, preprocess
from handler.errors import UnreadableDocumentError
from handler.preprocess import Limits, decode_page, inspect_document
from handler.processes.pool import CallCrashedError, Pool
from handler.profiles import PROFILES, BboxFormat
from handler.sandbox import channel
from handler.sandbox.wire import Descriptor, WireError
from tests import documents
from tests.documents import spooled
from tests.handler.sandbox import attempts

SECONDS = 60.0
SIZING = PROFILES["chandra"].sizing


@pytest.fixture(scope="module")
def pool():
    pool = Pool(1, modules=[attempts.__name__])
    yield pool
    pool.close()


@pytest.fixture
def new_pool():
    """Create pools of one process, and close them after the test."""
    pools = []

    def create(**options: Any) -> Pool:
        pools.append(Pool(1, modules=[attempts.__name__], **options))
        return pools[-1]

    yield create
    for pool in pools:
        pool.close()


def head(*lengths: int) -> bytes:
    """Return the header of a message with these four lengths."""
    return channel._HEAD.pack(*lengths)


class CreatesFolderWhenUnpickled:
    """Object that creates a folder when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("function", [attempts.count_words, attempts.describe_document])
def test_result_of_wrong_type_raises_an_error(pool, function):
    with pytest.raises(RuntimeError, match="WireError"):
        pool.call(SECONDS, function)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (head(2, 0, 0, 0) + b"[]", "no kind"),
        (head(14, 0, 0, 0) + b'["result","1"]', "64-bit int"),
        (head(14, 0, 0, 0) + b'["pickle", 12]', "of an unknown kind"),
        (head(12, 1, 0, 0) + b'["result",1]x', "does not refer to"),
        (head(20, 2, 0, 0) + b'["refusal", [2, 90]]ab', "extends beyond the message"),
        (head(0xFFFFFFFF, 0, 0, 0), "bytes of structure"),
        (b"\x80\x04\x95" + bytes(50), "bytes of structure"),
    ],
)
def test_forged_reply_ends_the_process(pool, message, words):
    with pytest.raises(CallCrashedError, match=words):
        pool.call(SECONDS, attempts.send_raw_reply, message, keep_running=True)

    assert pool.call(SECONDS, abs, -3) == 3


def test_pickled_reply_is_not_unpickled(pool, tmp_path):
    path = tmp_path / "made"
    message = pickle.dumps((None, CreatesFolderWhenUnpickled(str(path))))
    framed = len(message).to_bytes(4, "big") + message  # as multiprocessing sends it

    with pytest.raises(CallCrashedError):
        pool.call(SECONDS, attempts.send_raw_reply, framed, keep_running=True)

    assert not path.exists()


def test_partial_reply_of_an_ended_process_is_a_crash(pool):
    message = head(12, 0, 0, 0) + b'["res'

    with pytest.raises(CallCrashedError, match="ended with status 0"):
        pool.call(SECONDS, attempts.send_raw_reply, message, keep_running=False)


def test_stalled_reply_times_out(new_pool):
    pool = new_pool(message_seconds=0.2)
    message = head(12, 0, 0, 0) + b'["res'

    with pytest.raises(CallCrashedError, match="stalled midway"):
        pool.call(SECONDS, attempts.send_raw_reply, message, keep_running=True)


def test_unrequested_second_reply_is_discarded(pool):
    reply = head(12, 0, 0, 0) + b'["result",7]'

    first = pool.call(SECONDS, attempts.send_raw_reply, 2 * reply, keep_running=True)
    second = pool.call(SECONDS, abs, -3)

    assert (first, second) == (7, 3)


def test_result_above_the_limit_keeps_the_process(pool):
    pid = pool.call(SECONDS, os.getpid)

    with pytest.raises(RuntimeError, match="in blobs"):
        pool.call(SECONDS, attempts.return_zeros, channel.MAX_BLOB_BYTES + 1)

    assert pool.call(SECONDS, os.getpid) == pid


def test_call_replaces_a_process_that_was_stopped(new_pool):
    pool = new_pool(message_seconds=3.0)
    pid = pool.call(SECONDS, os.getpid)
    os.kill(pid, signal.SIGSTOP)

    assert len(pool.call(SECONDS, attempts.return_argument, bytes(8 << 20))) == 8 << 20
    assert pool.call(SECONDS, os.getpid) != pid


SAMPLES = {
    "png": documents.as_png(documents.text_page()),
    "palette": documents.as_png(documents.text_page().convert("P")),
    "grey": documents.as_png(documents.text_page().convert("I;16")),
    "jpeg": documents.as_jpeg(documents.text_page()),
    "rotated": documents.oriented_jpeg(documents.quadrants(), 6),
    "mpo": documents.as_mpo(documents.quadrants(), documents.quadrants()),
    "webp": documents.as_webp(documents.text_page()),
    "gif": documents.as_gif(documents.quadrants(), documents.quadrants()),
    "heic": documents.as_heic(documents.text_page()),
    "avif": documents.encoded(documents.text_page(), "AVIF"),
    "jpeg 2000": documents.encoded(documents.text_page(), "JPEG2000"),
    "pnm": documents.encoded(documents.text_page(), "PPM"),
    "tga": documents.encoded(documents.text_page(), "TGA"),
    "ico": documents.encoded(documents.text_page(), "ICO"),
    "jpeg without end": documents.as_jpeg(documents.text_page())[:-2],
    "png cut": documents.as_png(documents.text_page())[:-600],
    "bmp": documents.as_bmp(documents.text_page()),
    "tiff": documents.as_tiff(documents.text_page(), documents.quadrants()),
    "tiff lzw": documents.as_tiff(documents.text_page(), compression="tiff_lzw"),
    "tiff jpeg": documents.as_tiff(documents.text_page(), compression="jpeg"),
    "tiff fax": documents.as_tiff(
        documents.text_page().convert("1"), compression="group4"
    ),
    "tiff lab": documents.as_tiff(Image.new("LAB", (64, 64), (255, 128, 128))),
    "tiff cmyk": documents.as_tiff(documents.text_page().convert("CMYK")),
    "transparent": documents.as_png(documents.text_page().convert("RGBA")),
    "pdf": documents.pdf(),
    "pdf encrypted": documents.pdf(owner_password="owner"),
    "pdf rotated": documents.rotated_pdf(90),
    "pdf with form": documents.pdf_with_form_and_annotation(),
    "pdf with bad page": documents.pdf_with_one_bad_page(),
    "scan": documents.as_pdf(documents.text_page(), resolution=72),
    "blank": documents.blank_pdf_page(100, 100),
}


WITHOUT_LANDLOCK = "tests.handler.sandbox.without_landlock"


@pytest.fixture(scope="module", params=[[], [WITHOUT_LANDLOCK]], ids=["", "5.12"])
def decoders(request):
    modules = [*request.param, preprocess.__name__]
    pool = Pool(1, memory_bytes=1 << 30, modules=modules)
    yield pool
    pool.close()


@pytest.mark.parametrize("name", SAMPLES)
def test_page_decoded_in_confinement_is_identical(decoders, name):
    limits = Limits()
    with spooled(SAMPLES[name]) as document:
        info = decoders.call(SECONDS, inspect_document, document, None, limits)
        arguments = (document, info.media_type, 1, SIZING, limits)

        page = decoders.call(SECONDS, decode_page, *arguments)

        assert info == inspect_document(document, None, limits)
        assert page == decode_page(*arguments)


def test_images_cropped_in_confinement_are_identical(decoders):
    boxes = {"a": (0, 0, 100, 90), "b": (5, 5, 600, 700)}
    with spooled(SAMPLES["jpeg"]) as document:
        arguments = (document, "image/jpeg", 1, SIZING, Limits(), boxes)

        crops = decoders.call(SECONDS, preprocess.crop_images, *arguments)

        assert crops == preprocess.crop_images(*arguments)


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBP", b"%PDF-1.7"]
)
def test_error_in_confinement_has_the_same_message(decoders, content):
    with spooled(content) as document:
        with pytest.raises(UnreadableDocumentError) as expected:
            inspect_document(document, None, Limits())

        with pytest.raises(UnreadableDocumentError) as caught:
            decoders.call(SECONDS, inspect_document, document, None, Limits())

    assert str(caught.value) == str(expected.value)


@pytest.mark.parametrize("before", [[], [WITHOUT_LANDLOCK]], ids=["", "5.12"])
def test_page_content_is_converted_in_confinement(before):
    writers = Pool(1, memory_bytes=1 << 29, modules=[*before, postprocess.__name__])
    raw = (
        '<div data-bbox="[1, 2, 300, 400]" data-label="Table"><table><tr><td>&eacute;'
        "<math>x^2</math></td></tr></table></div>"
        '<div data-bbox="[1, 2, 3, 4]" data-label="Image"><img alt="a"></div>'
    )
    geometry = postprocess.PageGeometry(1, 640, 800, BboxFormat.JSON_1024)
    options = postprocess.ConversionOptions("ocr_layout", include_images=True)

    content = writers.call(SECONDS, postprocess.convert_page, raw, geometry, options)

    writers.close()
    assert content == postprocess.convert_page(raw, geometry, options)


def test_installed_fonts_are_used_in_confinement():
    """Fonts that are not embedded are replaced by installed fonts."""
    decoders = Pool(1, modules=[preprocess.__name__])
    text = b"BT /F 24 Tf 20 100 Td (Hello) Tj ET"
    content = documents.pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources"
        b"<</Font<</F<</Type/Font/Subtype/TrueType/BaseFont/DejaVuSans>>>>>>>>",
        b"<</Length %d>>\nstream\n%s\nendstream" % (len(text), text),
    )
    with spooled(content) as document:
        arguments = (document, "application/pdf", 1, SIZING, Limits())

        page = decoders.call(SECONDS, decode_page, *arguments)

        decoders.close()
        assert page == decode_page(*arguments)


def test_closed_descriptor_keeps_the_process(pool):
    pid = pool.call(SECONDS, os.getpid)

    with pytest.raises(WireError, match="is not open"):
        pool.call(SECONDS, attempts.read_from, Descriptor(999))

    assert pool.call(SECONDS, os.getpid) == pid
