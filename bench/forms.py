"""Comparison of how pages with form fields and annotations are drawn.

    python -m bench.forms FOLDER

Draws the pages of every PDF in a folder as the service does, flattened as chandra-ocr
does, and by poppler if `pdftoppm` is installed. Lists pages on which one of the others
shows ink that the service does not, and counts them.
"""

from __future__ import annotations

import argparse
import io
import mmap
import multiprocessing
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image, ImageChops, ImageFilter

from bench.report import finish, say
from handler.errors import HandlerError
from handler.preprocess.pdf.render import draw_page
from handler.profiles import PROFILES

__all__ = ["InkDifference", "compare_page", "count_missing_ink", "main"]

SIZING = PROFILES["chandra"].sizing
MAX_PAGES = 3
"""Pages of one PDF that are compared."""
MIN_LEVELS = 96
"""Difference in gray from which a pixel counts as ink."""
MIN_PIXELS = 40
"""Pixels of ink that count as a difference: a comma at 192 dpi."""
MAX_SHIFT_PIXELS = 5
"""Distance in pixels within which ink is the same: libraries round differently."""
TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class InkDifference:
    """Numbers of pixels with ink in one rendering but not in the other."""

    path: str
    page: int
    flattened_only: int
    ours_only: int
    poppler_only: int | None
    """None without poppler, or if its page has another size."""


def main() -> None:
    """Compare all PDFs of a folder, and print differences and counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of PDFs")
    folder = parser.parse_args().folder
    counts: Counter[str] = Counter()
    for outcome in _compare_files(sorted(folder.rglob("*.pdf"))):
        if isinstance(outcome, str):
            counts[outcome.partition(":")[0]] += 1
            continue
        counts["pages compared"] += 1
        lists = {
            "flattened shows more": outcome.flattened_only,
            "ours shows more than flattened": outcome.ours_only,
            "poppler shows more": outcome.poppler_only or 0,
        }
        for name, pixels in lists.items():
            if pixels >= MIN_PIXELS:
                counts[name] += 1
                say(f"{name}: {outcome.path} page {outcome.page}: {pixels} pixels")
    for name, count in counts.items():
        say(f"{count:6} {name}")
    compared = max(1, counts["pages compared"])
    shares = {
        name: counts[name] / compared
        for name in counts
        if name.partition(" shows more")[1]
    }
    finish("forms", shares, counts=dict(counts))


def compare_page(path: Path, number: int) -> InkDifference:
    """Draw page `number`, counted from 1, with all renderers and compare the ink.

    Raise HandlerError if the service's renderer fails.
    """
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    ours, *_ = draw_page(data, number, SIZING)
    flattened = _draw_flattened(path, number, ours.size)
    poppler = _draw_with_poppler(path, number, ours.size)
    return InkDifference(
        path.name,
        number,
        count_missing_ink(flattened, ours),
        count_missing_ink(ours, flattened),
        None if poppler is None else count_missing_ink(poppler, ours),
    )


def count_missing_ink(reference: Image.Image, other: Image.Image) -> int:
    """Return the number of pixels with ink in `reference` but none near in `other`."""
    nearby = other.convert("L").filter(ImageFilter.MinFilter(MAX_SHIFT_PIXELS))
    lighter = ImageChops.subtract(nearby, reference.convert("L"))
    return sum(lighter.histogram()[MIN_LEVELS:])


def _compare_files(paths: list[Path]) -> Iterator[InkDifference | str]:
    """Yield the difference or error of each page; a dead process counts as a crash."""
    for path in paths:
        # pdfium may crash on a PDF from the web, or take minutes for a form.
        with ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("fork")
        ) as processes:
            try:
                yield from processes.submit(_compare_file, path).result(TIMEOUT_SECONDS)
            except BrokenProcessPool:
                yield f"crashed: {path.name}"
            except TimeoutError:
                for process in multiprocessing.active_children():
                    process.kill()
                yield f"too slow: {path.name}"


def _compare_file(path: Path) -> list[InkDifference | str]:
    outcomes: list[InkDifference | str] = []
    try:
        with pypdfium2.PdfDocument(path) as document:
            numbers = [
                index + 1
                for index in range(min(len(document), 50))
                if pdfium.FPDFPage_GetAnnotCount(document[index]) > 0
            ][:MAX_PAGES]
    except pypdfium2.PdfiumError:
        return ["not opened"]
    for number in numbers:
        try:
            outcomes.append(compare_page(path, number))
        except (HandlerError, pypdfium2.PdfiumError) as error:
            outcomes.append(f"not drawn: {path.name} {error}")
    return outcomes or ["without annotations"]


def _draw_flattened(path: Path, number: int, size: tuple[int, int]) -> Image.Image:
    """Draw a page as chandra-ocr 0.1.8 does."""
    with pypdfium2.PdfDocument(path) as document:
        document.init_forms()
        pdfium.FPDFPage_Flatten(document[number - 1], pdfium.FLAT_NORMALDISPLAY)
        page = document[number - 1]
        image: Image.Image = page.render(scale=size[0] / page.get_width()).to_pil()
        return image.convert("RGB").resize(size)


def _draw_with_poppler(
    path: Path, number: int, size: tuple[int, int]
) -> Image.Image | None:
    """Draw a page; None without pdftoppm, or if its page has another size."""
    if shutil.which("pdftoppm") is None:
        return None
    pages = ["-f", str(number), "-l", str(number)]
    scaled = ["-scale-to-x", str(size[0]), "-scale-to-y", str(size[1])]
    drawn = subprocess.run(
        ["pdftoppm", "-cropbox", *pages, *scaled, str(path)],
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    ).stdout
    if not drawn:
        return None
    image = Image.open(io.BytesIO(drawn)).convert("RGB")
    return image if image.size == size else None


if __name__ == "__main__":
    main()
