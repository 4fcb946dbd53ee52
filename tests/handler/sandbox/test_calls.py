"""A forged reply ends its own process and nothing else."""

from __future__ import annotations

import os
import pickle
import signal
from typing import Any

import pytest
from PIL import Image

from handler import postprocess, preprocess
from handler.errors import UnreadableDocumentError
from handler.preprocess import Limits, inspect_document, page_at
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
    return channel._HEAD.pack(*lengths)


class RunsWhenUnpickled:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("function", [attempts.count_words, attempts.describe_document])
def test_a_result_of_another_type_is_an_error(pool, function):
    with pytest.raises(RuntimeError, match="WireError"):
        pool.call(SECONDS, function)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (head(2, 0, 0, 0) + b"[]", "no kind"),
        (head(14, 0, 0, 0) + b'["result","1"]', "64-bit int"),
        (head(14, 0, 0, 0) + b'["pickle", 12]', "no known kind"),
        (head(12, 1, 0, 0) + b'["result",1]x', "more than its structure"),
        (head(20, 2, 0, 0) + b'["refusal", [2, 90]]ab', "ends after the message"),
        (head(0xFFFFFFFF, 0, 0, 0), "bytes of structure"),
        (b"\x80\x04\x95" + bytes(50), "bytes of structure"),
    ],
)
def test_a_forged_reply_ends_its_process(pool, message, words):
    with pytest.raises(CallCrashedError, match=words):
        pool.call(SECONDS, attempts.send_to_the_caller, message, and_stay=True)

    assert pool.call(SECONDS, abs, -3) == 3


def test_a_pickle_in_place_of_a_reply_runs_nothing(pool, tmp_path):
    path = tmp_path / "made"
    message = pickle.dumps((None, RunsWhenUnpickled(str(path))))
    framed = len(message).to_bytes(4, "big") + message  # as multiprocessing sends it

    with pytest.raises(CallCrashedError):
        pool.call(SECONDS, attempts.send_to_the_caller, framed, and_stay=True)

    assert not path.exists()


def test_half_a_reply_before_the_end_is_a_crash(pool):
    message = head(12, 0, 0, 0) + b'["res'

    with pytest.raises(CallCrashedError, match="ended with status 0"):
        pool.call(SECONDS, attempts.send_to_the_caller, message, and_stay=False)


def test_half_a_reply_holds_its_caller_up_for_seconds_at_most(new_pool):
    pool = new_pool(message_seconds=0.2)
    message = head(12, 0, 0, 0) + b'["res'

    with pytest.raises(CallCrashedError, match="stops midway"):
        pool.call(SECONDS, attempts.send_to_the_caller, message, and_stay=True)


def test_a_second_reply_is_not_the_answer_to_the_next_call(pool):
    reply = head(12, 0, 0, 0) + b'["result",7]'

    first = pool.call(SECONDS, attempts.send_to_the_caller, 2 * reply, and_stay=True)
    second = pool.call(SECONDS, abs, -3)

    assert (first, second) == (7, 3)


def test_a_result_above_the_limit_does_not_end_its_process(pool):
    pid = pool.call(SECONDS, os.getpid)

    with pytest.raises(RuntimeError, match="in blobs"):
        pool.call(SECONDS, attempts.return_much, channel.MAX_BLOB_BYTES + 1)

    assert pool.call(SECONDS, os.getpid) == pid


def test_a_process_stopped_while_it_idles_holds_up_no_large_call(new_pool):
    pool = new_pool(message_seconds=3.0)
    pid = pool.call(SECONDS, os.getpid)
    os.kill(pid, signal.SIGSTOP)

    assert len(pool.call(SECONDS, attempts.return_it, bytes(8 << 20))) == 8 << 20
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
def test_a_page_drawn_in_confinement_is_the_same_page(decoders, name):
    limits = Limits()
    with spooled(SAMPLES[name]) as document:
        info = decoders.call(SECONDS, inspect_document, document, None, limits)
        arguments = (document, info.media_type, 1, SIZING, limits)

        page = decoders.call(SECONDS, page_at, *arguments)

        assert info == inspect_document(document, None, limits)
        assert page == page_at(*arguments)


def test_figures_cut_in_confinement_are_the_same(decoders):
    boxes = {"a": (0, 0, 100, 90), "b": (5, 5, 600, 700)}
    with spooled(SAMPLES["jpeg"]) as document:
        arguments = (document, "image/jpeg", 1, SIZING, Limits(), boxes)

        crops = decoders.call(SECONDS, preprocess.crops_at, *arguments)

        assert crops == preprocess.crops_at(*arguments)


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBP", b"%PDF-1.7"]
)
def test_a_damaged_document_gets_the_same_words_in_confinement(decoders, content):
    with spooled(content) as document:
        with pytest.raises(UnreadableDocumentError) as expected:
            inspect_document(document, None, Limits())

        with pytest.raises(UnreadableDocumentError) as found:
            decoders.call(SECONDS, inspect_document, document, None, Limits())

    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("before", [[], [WITHOUT_LANDLOCK]], ids=["", "5.12"])
def test_writers_convert_in_confinement(before):
    writers = Pool(1, memory_bytes=1 << 29, modules=[*before, postprocess.__name__])
    raw = (
        '<div data-bbox="[1, 2, 300, 400]" data-label="Table"><table><tr><td>&eacute;'
        "<math>x^2</math></td></tr></table></div>"
        '<div data-bbox="[1, 2, 3, 4]" data-label="Image"><img alt="a"></div>'
    )
    options: dict[str, Any] = {
        "bbox_format": BboxFormat.JSON_1024,
        "width": 640,
        "height": 800,
        "prompt_type": "ocr_layout",
        "page_number": 1,
        "include_images": True,
        "include_headers_footers": False,
    }

    content = writers.call(SECONDS, postprocess.page_content, raw, **options)

    writers.close()
    assert content == postprocess.page_content(raw, **options)


def test_fonts_of_the_system_are_used_in_confinement():
    """A font that is not embedded is replaced, by one of the machine's if it can be."""
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

        page = decoders.call(SECONDS, page_at, *arguments)

        decoders.close()
        assert page == page_at(*arguments)


def test_a_descriptor_that_is_closed_costs_no_process(pool):
    pid = pool.call(SECONDS, os.getpid)

    with pytest.raises(WireError, match="is not open"):
        pool.call(SECONDS, attempts.read_from, Descriptor(999))

    assert pool.call(SECONDS, os.getpid) == pid
