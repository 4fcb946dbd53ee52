"""Comparison of decoded pages with those of a reference renderer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageStat

from bench.sweep.compare import DifferenceKind, RenderingDifference, compare
from bench.sweep.files import content_type_of
from bench.sweep.reference import NoReferenceError, Renderer
from handler import preprocess
from handler.errors import HandlerError
from handler.processes.pool import CallContext, Pool
from handler.profiles import Sizing
from handler.reading.decode import Decoder
from handler.sandbox.wire import Descriptor
from handler.schema import Page

__all__ = ["ComparedPage", "PageComparer", "compare_with_reference"]

MEMORY_BYTES = 4 << 30
TIMEOUT_SECONDS = 60.0
LIGHT_ON_DARK = "light_on_dark"
"""Warning of a page that was inverted."""


@dataclass(frozen=True, slots=True)
class ComparedPage:
    """Page of a file with its difference from the reference.

    `failure` is the reason if there is none; `code` is the error code of our decoder.
    """

    path: Path
    page: int
    difference: RenderingDifference | None = None
    failure: str | None = None
    code: str | None = None

    def to_json(self) -> dict[str, Any]:
        difference = self.difference
        values = (
            {}
            if difference is None
            else {
                "kind": str(difference.kind),
                "mean": round(difference.mean, 2),
                "worst_tile": round(difference.worst_tile, 1),
                "correlation": difference.correlation
                and round(difference.correlation, 3),
            }
        )
        return {"path": str(self.path), "page": self.page, **values} | (
            {} if self.failure is None else {"failure": self.failure, "code": self.code}
        )


def compare_with_reference(page: Page, reference: Image.Image) -> RenderingDifference:
    """Compare our page with a gray reference.

    The reference is rotated and inverted in the same way as our page was.
    """
    if page.is_blank:
        # A page of a single color also counts as blank.
        tint = round(ImageStat.Stat(reference).mean[0])
        return compare(Image.new("L", reference.size, tint), reference)
    seen = (page.pixel_width, page.pixel_height)
    ours = Image.frombytes("RGB", seen, page.pixels).convert("L")
    # The grid of patches distorts small pages.
    scale = max(reference.size) / max(page.width, page.height)
    size = [max(1, round(side * scale)) for side in (page.width, page.height)]
    if page.rotation:
        reference = reference.rotate(-page.rotation, expand=True)
    if page.rotation % 180:
        size.reverse()
    ours = ours.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    difference = compare(ours, reference)
    is_inverted = any(warning.code == LIGHT_ON_DARK for warning in page.warnings)
    if is_inverted and difference.kind is not DifferenceKind.SAME:
        return compare(ours.point(lambda value: 255 - value), reference)
    return difference


class PageComparer:
    """Comparer of the first pages of files, with its own decoder processes."""

    def __init__(
        self,
        renderers: Sequence[Renderer],
        sizing: Sizing,
        *,
        num_processes: int = 1,
        max_pages: int = 3,
        declares_type: bool = True,
    ) -> None:
        self._renderers = renderers
        self._sizing = sizing
        self._max_pages = max_pages
        self._declares_type = declares_type
        self._limits = preprocess.Limits()
        self._pool = Pool(
            num_processes,
            memory_bytes=MEMORY_BYTES,
            modules=[preprocess.__name__],
            name="decoder",
        )
        self._decoder = Decoder(self._pool, TIMEOUT_SECONDS, time.monotonic)

    def close(self) -> None:
        self._pool.close()

    def compare(self, path: Path) -> list[ComparedPage]:
        """Compare a file's first pages; none if no renderer supports the type."""
        if path.stat().st_size == 0:
            return []
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return list(self._compare_pages(path, Descriptor(descriptor)))
        finally:
            os.close(descriptor)

    def _compare_pages(
        self, path: Path, document: Descriptor
    ) -> Iterator[ComparedPage]:
        declared = content_type_of(path) if self._declares_type else None
        context = CallContext()
        try:
            info = self._decoder.run(
                context,
                None,
                preprocess.inspect_document,
                document,
                declared,
                self._limits,
            )
        except (HandlerError, RuntimeError) as error:
            yield ComparedPage(path, 1, failure=str(error), code=_code(error))
            return
        renderer = next((r for r in self._renderers if r.draws(info.media_type)), None)
        if renderer is None:
            return
        for number in range(1, min(info.num_pages, self._max_pages) + 1):
            try:
                page = self._decoder.run(
                    context,
                    None,
                    preprocess.decode_page,
                    document,
                    info.media_type,
                    number,
                    self._sizing,
                    self._limits,
                )
            except (HandlerError, RuntimeError) as error:
                yield ComparedPage(path, number, failure=str(error), code=_code(error))
                continue
            if not page.pixels:
                yield ComparedPage(path, number, failure="the page is read in strips")
                continue
            try:
                reference = renderer.render(path, info.media_type, number)
            except NoReferenceError as error:
                yield ComparedPage(path, number, failure=str(error))
                continue
            yield ComparedPage(path, number, compare_with_reference(page, reference))


def _code(error: Exception) -> str:
    return str(getattr(error, "code", type(error).__name__))
