"""Options for the decoders, and secrecy of the password."""

from __future__ import annotations

from typing import Any

from handler.http.request import OCRRequest
from handler.preprocess import DecodeOptions
from handler.reading.open_document import build_decode_options
from handler.schema import Options
from tests.handler.reading.engines import TEXT, FakeEngines, pdf_of

PASSWORD = "hunter2-secret"
OPTIONS = Options(password=PASSWORD, rotate="none")


class RecordingPool:
    """Pool that records the arguments of the last call of each function."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.calls: dict[str, tuple[Any, ...]] = {}

    def call_restartable(self, context, total, timeout, function, /, *args, **kwargs):
        self.calls[function.__name__] = args
        return self._pool.call_restartable(
            context, total, timeout, function, *args, **kwargs
        )


def test_options_become_those_of_the_decoders():
    assert build_decode_options(OPTIONS) == DecodeOptions(
        PASSWORD, detect_rotation=False
    )
    assert build_decode_options(Options()) == DecodeOptions()


def test_password_reaches_every_decoder_call(make_reader, open_document, decoders):
    recording_pool = RecordingPool(decoders)
    reader = make_reader(FakeEngines({1: TEXT}), decoders=recording_pool)

    document = open_document(pdf_of(1), reader, password=PASSWORD, rotate="none")
    list(reader.read_pages(document))

    expected = build_decode_options(OPTIONS)
    assert recording_pool.calls["inspect_document"][-1] == expected
    assert recording_pool.calls["decode_page"][-1] == expected


def test_a_password_is_not_printed(open_document):
    document = open_document(pdf_of(1), password=PASSWORD)
    request = OCRRequest(b"x", None, OPTIONS, None)

    for value in (OPTIONS, request, build_decode_options(OPTIONS), document):
        assert PASSWORD not in repr(value)
