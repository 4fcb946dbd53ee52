"""Reading of pages with the code that serves them: decoder, engine and parser."""

from __future__ import annotations

import io
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from handler.engine.device.model import load_model
from handler.engine.request import EngineOutput, EngineRequest, FinishReason
from handler.engine.selection.choice import choose_engine
from handler.postprocess import (
    ConversionOptions,
    PageGeometry,
    StripAnswer,
    convert_page,
    convert_strips,
)
from handler.preprocess.document import decode_page, decode_strip
from handler.preprocess.limits import Limits
from handler.profiles import PROFILES
from handler.prompts import load_prompts
from handler.reading.collect import blank_output
from handler.sandbox.wire import Descriptor
from handler.schema import Page, PageContent
from handler.settings import EngineSettings
from handler.weights.source import Source, fetch
from mini.truth import BBOX_SCALE, RenderedPage

__all__ = [
    "CheckpointReader",
    "EvaluationPage",
    "PageReading",
    "Reader",
    "parse_answer",
]

PROFILE = PROFILES["mini"]
_OPTIONS = ConversionOptions("ocr_layout", include_headers_footers=True)


@dataclass(frozen=True, slots=True)
class EvaluationPage:
    """Page of a document with its true answer in the model's markup."""

    document: bytes
    media_type: str
    answer: str
    size: tuple[int, int] = (BBOX_SCALE, BBOX_SCALE)
    """Width and height in pixels; any size for an answer without boxes."""
    number: int = 1
    """Number of the page in the document, counted from 1."""

    @classmethod
    def from_rendered(cls, page: RenderedPage) -> EvaluationPage:
        """Return a rendered page as a PNG file."""
        stream = io.BytesIO()
        page.image.save(stream, "PNG", compress_level=1)
        return cls(stream.getvalue(), "image/png", page.html, page.image.size)

    @property
    def truth(self) -> PageContent:
        """True answer, parsed as the service parses answers."""
        return parse_answer(self.answer, self.size)


@dataclass(frozen=True, slots=True)
class PageReading:
    """Result for a page."""

    content: PageContent
    seconds: float
    """Time for decoding, reading and parsing the page."""
    is_truncated: bool = False
    """Whether the model was stopped at the profile's `max_output_tokens`."""


class Reader(Protocol):
    """Reader of pages."""

    def read(self, page: EvaluationPage, *, has_drafts: bool = True) -> PageReading:
        """Read a page; `has_drafts` is False to ignore the text layer of a PDF."""
        ...


class CheckpointReader:
    """Checkpoint with the decoder, engine and parser of the service."""

    def __init__(self, checkpoint: Path) -> None:
        weights = fetch(
            Source("folder", str(checkpoint)), EngineSettings(), checkpoint / "none"
        )
        model = load_model(weights, "cpu")
        self._engine = choose_engine(model, EngineSettings(), PROFILE.name).engine
        self._prompt = load_prompts(PROFILE)["ocr_layout"]

    def read(self, page: EvaluationPage, *, has_drafts: bool = True) -> PageReading:
        """Read a page from a temporary file, and return its content and the time.

        `has_drafts` is False to ignore the text layer of a PDF. Raises HandlerError if
        the document cannot be decoded, and RuntimeError if the engine fails.
        """
        with tempfile.TemporaryFile() as file:
            file.write(page.document)
            file.flush()
            started = time.monotonic()
            content, outputs = self._read_document(
                Descriptor(file.fileno()), page, has_drafts=has_drafts
            )
            seconds = time.monotonic() - started
        reasons = {output.finish_reason for output in outputs}
        return PageReading(content, seconds, FinishReason.LENGTH in reasons)

    def _read_document(
        self, document: Descriptor, page: EvaluationPage, *, has_drafts: bool
    ) -> tuple[PageContent, list[EngineOutput]]:
        """Return the content of the page, and the output for it or for each strip."""
        place = document, page.media_type
        seen = decode_page(*place, page.number, PROFILE.sizing, Limits())
        geometry = PageGeometry(
            page.number, seen.width, seen.height, PROFILE.bbox_format, seen.rotation
        )
        if not seen.strips:
            output = self._generate(seen, has_drafts=has_drafts)
            return convert_page(output.text, geometry, _OPTIONS), [output]
        outputs = []
        for index in range(len(seen.strips)):
            part = decode_strip(*place, seen, index, PROFILE.sizing, Limits())
            outputs.append(self._generate(part, has_drafts=has_drafts))
        answers = tuple(
            StripAnswer(strip, output.text)
            for strip, output in zip(seen.strips, outputs, strict=True)
        )
        return convert_strips(answers, geometry, _OPTIONS), outputs

    def _generate(self, page: Page, *, has_drafts: bool) -> EngineOutput:
        if page.is_blank:
            return blank_output()
        if not has_drafts:
            page = replace(page, text_layer="")
        self._engine.submit(
            EngineRequest("1", "1", page, self._prompt, PROFILE.max_output_tokens)
        )
        while True:
            for output in self._engine.step(lambda: None):
                if output.error is not None:
                    raise RuntimeError(
                        f"the engine could not read the page: {output.error.detail}"
                    )
                return output


def parse_answer(answer: str, size: tuple[int, int]) -> PageContent:
    """Parse the model's answer for a page of `size` pixels as the service does."""
    return convert_page(answer, PageGeometry(1, *size, PROFILE.bbox_format), _OPTIONS)
