"""Error rates of the orientation of pages.

    python -m bench.orientation [--fonts FOLDER ...] [--documents FOLDER]

It renders 200 pages of many layouts and scripts, and degrades most of them as scanners
do. It does the same with the documents of `bench/pages`. The code that serves gets each
page in four orientations. It also gets pictures, blank pages, vertical Japanese, and
upright large pages of small print. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pypdfium2
from PIL import Image

from bench.orientation.figures import FIGURES, render_figure
from bench.orientation.pages import (
    LAYOUTS,
    degrade,
    render_small_print,
    render_text,
    render_vertical,
)
from bench.orientation.scripts import SCRIPTS, find_fonts
from bench.report import finish, say
from handler.preprocess.decode_options import DecodeOptions
from handler.preprocess.page.examine import examine, rotate_image

_DOCUMENTS = Path(__file__).parents[1] / "pages"
_SEED = 20_261_130
_TURNS = (0, 90, 180, 270)
_SCANS_OF_A_DOCUMENT = 6
_PDF_SCALE = 192 / 72
_SMALL_PRINT = (
    ((1587, 2246), 3, 9),
    ((3840, 2160), 4, 14),
    ((3000, 4200), 5, 12),
    ((3000, 4200), 4, 18),
    ((3000, 5500), 3, 14),
    ((4000, 3000), 5, 14),
    ((9000, 7000), 6, 24),
)
"""Size in pixels, columns, and height of the letters, which have less than 6 pixels on
the small copy that is examined."""


@dataclass(slots=True)
class OrientationCounts:
    """Counts of the pages of one class, and of those with the right result."""

    num_shown: Counter[int] = field(default_factory=Counter)
    """Number of pages by the degrees clockwise by which they were turned."""
    num_right: Counter[int] = field(default_factory=Counter)
    num_blank: int = 0

    def add(self, page: Image.Image, degrees: int) -> bool:
        """Process a page turned by `degrees`; return True if the result is upright."""
        examined = examine(rotate_image(page.convert("RGB"), degrees), DecodeOptions())
        is_right = (degrees + examined.rotation) % 360 == 0
        self.num_shown[degrees] += 1
        self.num_right[degrees] += is_right
        self.num_blank += examined.is_blank
        return is_right

    def add_counts(self, other: OrientationCounts) -> None:
        self.num_shown += other.num_shown
        self.num_right += other.num_right
        self.num_blank += other.num_blank


def main(arguments: Sequence[str]) -> int:
    """Measure, print the rates, and return the exit status."""
    parser = argparse.ArgumentParser(prog="bench.orientation")
    parser.add_argument(
        "--fonts", type=Path, nargs="*", default=[], help="folders of fonts"
    )
    parser.add_argument("--documents", type=Path, help="folder of upright PDFs")
    parser.add_argument(
        "--pages", type=int, default=200, help="rendered pages (default 200)"
    )
    parser.add_argument("--seed", type=int, default=_SEED, help="seed of the pages")
    parser.add_argument(
        "--save-wrong", type=Path, help="folder for pages with a wrong result"
    )
    options = parser.parse_args(arguments)
    by_class: dict[str, OrientationCounts] = {}
    for name, page, turns in _test_pages(options):
        counts = by_class.setdefault(name, OrientationCounts())
        for degrees in turns:
            if not counts.add(page, degrees) and options.save_wrong:
                number = sum(counts.num_shown.values())
                file = f"{name.replace('/', '-')}-{number}-{degrees}.png"
                rotate_image(page, degrees).save(options.save_wrong / file)
    totals: dict[str, OrientationCounts] = {}
    for name, counts in by_class.items():
        _print_row(name, counts)
        totals.setdefault(name.split("/")[0], OrientationCounts()).add_counts(counts)
    for name, counts in totals.items():
        _print_row(name, counts)
    ratios = {
        f"{name}, turned by {degrees}": round(counts.num_right[degrees] / count, 4)
        for name, counts in totals.items()
        for degrees, count in sorted(counts.num_shown.items())
    }
    num_pages = {
        name: max(counts.num_shown.values()) for name, counts in totals.items()
    }
    num_blank = {name: counts.num_blank for name, counts in totals.items()}
    finish("orientation", ratios, num_pages=num_pages, num_blank=num_blank)
    return 0


def _print_row(name: str, counts: OrientationCounts) -> None:
    row = [
        f"{100 * counts.num_right[d] / counts.num_shown[d]:6.1f} %"
        for d in counts.num_shown
    ]
    count = max(counts.num_shown.values())
    say(f"{name:32} {count:4} pages {' '.join(row)}, {counts.num_blank} blank")


def _test_pages(
    options: argparse.Namespace,
) -> Iterator[tuple[str, Image.Image, Sequence[int]]]:
    """Yield the class, page and rotations of each test."""
    rng = random.Random(options.seed)
    scripts = [script for script in SCRIPTS if find_fonts(script, options.fonts)]
    layouts = list(LAYOUTS)
    for number in range(options.pages):
        layout = layouts[number % len(layouts)]
        # Every second page is Latin, because most documents are.
        script = scripts[number // 2 % len(scripts)] if number % 2 else "latin"
        page = render_text(rng, layout, script, options.fonts)
        page = degrade(rng, page) if rng.random() < 0.7 else page
        yield f"text/{layout}", page, _TURNS
    for path in sorted(_DOCUMENTS.glob("*.pdf")):
        page = next(_first_pages(path)).convert("L")
        yield "scans/" + path.stem, page, _TURNS
        for _ in range(_SCANS_OF_A_DOCUMENT):
            yield "scans/" + path.stem, degrade(rng, page), _TURNS
    for kind in FIGURES:
        for _ in range(10):
            page = render_figure(rng, kind)
            yield f"figures/{kind}", degrade(rng, page), (0,)
    for _ in range(10):
        paper = Image.new("L", (1240, 1754), rng.randint(200, 255))
        yield "blank", degrade(rng, paper), (0,)
    for size, num_columns, points in _SMALL_PRINT:
        for is_prose in (True, False):
            kind = f"small_print/{points} of {size[0]} x {size[1]}"
            page = render_small_print(rng, size, num_columns, points, is_prose)
            yield kind, page, (0,)
    for script in ("japanese", "chinese"):
        for _ in range(20 if script in scripts else 0):
            page = render_vertical(rng, script, options.fonts)
            yield f"vertical/{script}", degrade(rng, page), _TURNS
    if options.documents:
        for path in sorted(options.documents.rglob("*.pdf")):
            for number, page in enumerate(_first_pages(path)):
                yield f"documents/{path.stem}-{number + 1}", page, _TURNS


def _first_pages(path: Path, max_pages: int = 3) -> Iterator[Image.Image]:
    """Yield the first pages of a PDF; none if it is damaged or needs a password."""
    try:
        document = pypdfium2.PdfDocument(path)
        for number in range(min(len(document), max_pages)):
            page = document[number]
            scale = min(_PDF_SCALE, 3000 / max(page.get_size()))
            yield page.render(scale=scale).to_pil().convert("RGB")
    except pypdfium2.PdfiumError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
