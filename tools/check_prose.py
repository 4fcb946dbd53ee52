"""Lint of the English in docstrings, comments, messages and names.

`make lint` runs it. It prints the symptoms of `prose_rules.Kind` and fails if there are
any. `--summary` prints figures per top-level folder, and `--against REVISION` prints
those of another commit beside them.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.prose_rules import (
    GOOD_TEST_NAME,
    MAX_TEST_NAME,
    Kind,
    Report,
    inspect,
)

TEXT_SUFFIXES = {".cfg", ".java", ".md", ".properties", ".toml", ".yaml", ".yml"}
TEXT_NAMES = {"Dockerfile", "Makefile"}
# Recorded output, and text that models read or write: its words are not ours.
DATA_PATHS = re.compile(r"(^|/)(data|results)/|^(model-store|samples)/.*\.(json|yaml)$")


def _is_checked(path: str) -> bool:
    name = Path(path)
    is_prose = name.suffix in TEXT_SUFFIXES or name.name in TEXT_NAMES
    return name.suffix == ".py" or (is_prose and not DATA_PATHS.search(path))


def _read_work_tree() -> dict[str, str]:
    """Return the text of each checked file of the working tree, by path."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    paths = sorted({name for name in names.split("\0") if _is_checked(name)})
    return {path: Path(path).read_text() for path in paths if Path(path).is_file()}


def _read_revision(revision: str) -> dict[str, str]:
    """Return the text of each checked file of a commit, by path."""
    command = ["git", "archive", "--format=tar", revision]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    files: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for member in members:
            content = members.extractfile(member) if member.isfile() else None
            if content is not None and _is_checked(member.name):
                files[member.name] = content.read().decode()
    return files


Reports = Mapping[str, Report]


def check(reports: Reports) -> tuple[list[str], bool]:
    """Return the lines to print, and True if no file has a symptom.

    Test names above GOOD_TEST_NAME letters are counted in a note and are no symptom.
    """
    symptoms = [symptom for report in reports.values() for symptom in report.symptoms]
    lines = [str(symptom) for symptom in symptoms]
    num_long = sum(report.num_long_test_names for report in reports.values())
    if num_long:
        lines.append(f"note: {num_long} test names above {GOOD_TEST_NAME} letters")
    return lines, not symptoms


def summarise(reports: Reports) -> dict[str, Report]:
    """Return one report per top-level folder, then the total."""
    folders: dict[str, Report] = {}
    total = Report()
    for path, report in reports.items():
        folder = path.partition("/")[0] if "/" in path else "."
        folders.setdefault(folder, Report()).add(report)
        total.add(report)
    return {**dict(sorted(folders.items())), "total": total}


def _format_figures(report: Report) -> list[str]:
    openings = report.count(Kind.OPENING)
    share = openings / report.num_docstrings if report.num_docstrings else 0.0
    return [
        f"{report.num_docstrings}",
        f"{openings}",
        f"{share:.1%}",
        f"{report.num_openings_with_of}",
        f"{report.count(Kind.RIDDLE)}",
        f"{report.count(Kind.FUNCTION)}",
        f"{report.count(Kind.VARIABLE)}",
        f"{report.num_comments}",
        f"{report.num_tests}",
        f"{report.count(Kind.LONG_TEST)}",
        f"{report.num_long_test_names}",
    ]


COLUMN_NAMES = ["docstrings", "openings", "share", "Of", "riddles", "functions"]
COLUMN_NAMES += ["variables", "comments", "tests"]
COLUMN_NAMES += [f">{MAX_TEST_NAME}", f">{GOOD_TEST_NAME}"]


def print_summary(now: Mapping[str, Report], before: Mapping[str, Report]) -> None:
    """Print a table with one row per folder.

    Cells read "before > now", or have one number if `before` is empty.
    """
    rows = [["folder", *COLUMN_NAMES]]
    for folder, report in now.items():
        cells = _format_figures(report)
        if before:
            old = _format_figures(before.get(folder, Report()))
            cells = [f"{a} > {b}" for a, b in zip(old, cells, strict=True)]
        rows.append([folder, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *padded[1:]]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the working tree, or print the summary.

    Must run in the root of the repository. Returns 1 if a file has a symptom, else 0.
    The summary always returns 0.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.check_prose")
    parser.add_argument(
        "--summary", action="store_true", help="print figures per top-level folder"
    )
    parser.add_argument(
        "--against", metavar="REVISION", help="with --summary: compare with a commit"
    )
    options = parser.parse_args(arguments)
    reports = _inspect_files(_read_work_tree())
    if options.summary:
        before: Reports = {}
        if options.against:
            before = summarise(_inspect_files(_read_revision(options.against)))
        print_summary(summarise(reports), before)
        return 0
    lines, passes = check(reports)
    for line in lines:
        print(line)
    return 0 if passes else 1


def _inspect_files(files: Mapping[str, str]) -> dict[str, Report]:
    return {path: inspect(path, text) for path, text in files.items()}


if __name__ == "__main__":
    sys.exit(main())
