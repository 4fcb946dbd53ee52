"""Pages of the evaluation that Chromium prints to PDF.

The folder `documents` has each page as HTML, and beside it the true answer, which was
written by hand in the model's markup.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mini.evaluation.reader import EvaluationPage
from mini.fonts import Family, find_unseen_families

__all__ = [
    "CHROMIUM_PAGES",
    "DOCUMENTS",
    "ChromiumPage",
    "MissingBrowserError",
    "find_chromium",
    "print_page",
]

DOCUMENTS = Path(__file__).with_name("documents")
_COMMANDS = ("chromium", "chromium-browser", "google-chrome")
_TIMEOUT_SECONDS = 120
_STYLES = {
    "regular": "normal 400",
    "bold": "normal 700",
    "italic": "italic 400",
    "bold_italic": "italic 700",
}


class MissingBrowserError(RuntimeError):
    """Chromium is not installed, or it could not print a page."""


@dataclass(frozen=True, slots=True)
class ChromiumPage:
    """HTML page of the folder `documents` and its typeface."""

    name: str
    family: str
    """Typeface that the training never uses."""

    @property
    def html(self) -> str:
        return (DOCUMENTS / f"{self.name}.html").read_text("utf-8")

    @property
    def answer(self) -> str:
        """True answer in the model's markup, without boxes."""
        return (DOCUMENTS / f"{self.name}.answer.html").read_text("utf-8")


CHROMIUM_PAGES = (
    ChromiumPage("letter", "Charis SIL"),
    ChromiumPage("invoice", "Clear Sans"),
    ChromiumPage("article", "PT Serif"),
)


def find_chromium() -> str:
    """Return the path of Chromium; raise MissingBrowserError if there is none."""
    for command in _COMMANDS:
        if path := shutil.which(command):
            return path
    raise MissingBrowserError(
        "Chromium is not on the PATH: install it (apt-get install chromium), or leave "
        "out the part `chromium` with --only"
    )


def print_page(page: ChromiumPage) -> EvaluationPage:
    """Print an HTML page to PDF with Chromium, and return the PDF with its true answer.

    Raises MissingBrowserError if Chromium is not installed or prints nothing within two
    minutes, and MissingFontsError if an unseen typeface is not installed.
    """
    [family] = [f for f in find_unseen_families() if f.name == page.family]
    chromium = find_chromium()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, target = folder / "page.html", folder / "page.pdf"
        style = f"<style>{_write_font_faces(family)}</style></head>"
        source.write_text(page.html.replace("</head>", style), "utf-8")
        command = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-pdf-header-footer",
            "--disable-background-networking",
            f"--user-data-dir={folder / 'profile'}",
            f"--print-to-pdf={target}",
            source.as_uri(),
        ]
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS
            )
            reason = result.stderr.strip()[-300:]
        except subprocess.TimeoutExpired as error:
            reason = str(error)
        if not target.is_file():
            raise MissingBrowserError(
                f"{chromium} did not print the page {page.name}: {reason}"
            )
        return EvaluationPage(target.read_bytes(), "application/pdf", page.answer)


def _write_font_faces(family: Family) -> str:
    """Return CSS that loads the files of the typeface under the name Unseen."""
    rules = []
    for style, css in _STYLES.items():
        if file := getattr(family, style):
            slope, weight = css.split()
            rules.append(
                f"@font-face {{ font-family: Unseen; font-style: {slope}; "
                f"font-weight: {weight}; src: url({Path(file).as_uri()}); }}"
            )
    return "\n".join(rules)
