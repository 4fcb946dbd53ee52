"""Lint of the English in docstrings, comments, messages and names.

`make lint` runs it. It prints the symptoms of `prose_rules.Kind` and fails on new ones:
`tools/prose_baseline.json` holds how many of each kind a file had when the check was
introduced, and it may have no more. `--update` lowers the baseline to the present
numbers; it never raises a number. `--summary` prints figures per top-level folder, and
`--against REVISION` prints those of another commit beside them.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.prose_rules import (
    GOOD_TEST_NAME,
    MAX_TEST_NAME,
    Kind,
    Report,
    Symptom,
    inspect,
)

BASELINE = Path("tools/prose_baseline.json")
UPDATE = "python -m tools.check_prose --update"

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


Baseline = Mapping[str, Mapping[str, int]]
Reports = Mapping[str, Report]


def count_symptoms(reports: Reports) -> dict[str, dict[str, int]]:
    """Return the counts per file and kind, without zeros: the form of the baseline."""
    counts: dict[str, dict[str, int]] = {}
    for path, report in reports.items():
        kinds = Counter(symptom.kind.value for symptom in report.symptoms)
        if kinds:
            counts[path] = dict(sorted(kinds.items()))
    return counts


def find_new_symptoms(reports: Reports, baseline: Baseline) -> list[Symptom]:
    """Return the symptoms of each file and kind that exceed the baseline.

    All symptoms of the kind in the file are returned, as old and new look the same.
    """
    new: list[Symptom] = []
    for path, report in reports.items():
        for kind in Kind:
            if report.count(kind) > baseline.get(path, {}).get(kind.value, 0):
                new += [symptom for symptom in report.symptoms if symptom.kind is kind]
    return new


def lower_baseline(counts: Baseline, baseline: Baseline) -> dict[str, dict[str, int]]:
    """Return the baseline with every number lowered to the count, none raised.

    Files without symptoms are left out, and so are files that the baseline lacks.
    """
    lowered: dict[str, dict[str, int]] = {}
    for path, kinds in sorted(baseline.items()):
        present = {
            kind: min(number, counts.get(path, {}).get(kind, 0))
            for kind, number in kinds.items()
        }
        if any(present.values()):
            lowered[path] = {kind: number for kind, number in present.items() if number}
    return lowered


def check(reports: Reports, baseline: Baseline) -> tuple[list[str], bool]:
    """Return the lines to print, and whether the files pass."""
    new = find_new_symptoms(reports, baseline)
    lines = [str(symptom) for symptom in new]
    if new:
        files = len({symptom.path for symptom in new})
        lines.append(f"{files} files have more symptoms than {BASELINE} allows")
    counts = count_symptoms(reports)
    for path, kinds in baseline.items():
        for kind, number in kinds.items():
            present = counts.get(path, {}).get(kind, 0)
            if present < number:
                lines.append(
                    f"{path}: {kind} is down from {number} to {present}; "
                    f"lower the baseline with {UPDATE}"
                )
    num_long = sum(report.num_long_test_names for report in reports.values())
    if num_long:
        lines.append(f"note: {num_long} test names above {GOOD_TEST_NAME} letters")
    return lines, not new


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
    """Check the working tree, update the baseline or print the summary.

    Must run in the root of the repository. Prints what it reports, and `--update`
    writes the baseline. Returns 1 if a file has new symptoms, else 0. Without a
    baseline, no symptom is new.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.check_prose")
    parser.add_argument(
        "--update", action="store_true", help="lower the baseline to what is present"
    )
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
    counts = count_symptoms(reports)
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else counts
    if options.update:
        lowered = lower_baseline(counts, baseline)
        BASELINE.write_text(_format_baseline(lowered))
        return 0
    lines, passes = check(reports, baseline)
    for line in lines:
        print(line)
    return 0 if passes else 1


def _format_baseline(baseline: Baseline) -> str:
    """Return the baseline as JSON with one line per file."""
    lines = [f"{json.dumps(path)}: {json.dumps(baseline[path])}" for path in baseline]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _inspect_files(files: Mapping[str, str]) -> dict[str, Report]:
    return {path: inspect(path, text) for path, text in files.items()}


if __name__ == "__main__":
    sys.exit(main())
