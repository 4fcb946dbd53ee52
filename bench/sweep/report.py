"""Report of a sweep, printed and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report import describe_commit, say
from bench.sweep.compare import DifferenceKind
from bench.sweep.pages import ComparedPage
from bench.sweep.post import PostOutcome

__all__ = [
    "print_differences",
    "print_memory",
    "print_outcomes",
    "summarize",
    "write_report",
]

NUM_SHOWN = 10
MAX_LETTERS = 110


def print_outcomes(outcomes: Sequence[PostOutcome], folder: Path) -> None:
    """Print counts by status, the server's faults and the slowest files."""
    say(f"{len(outcomes)} files posted")
    for title, counts in _count_outcomes(outcomes).items():
        if counts:
            say(f"\n{title}")
            for name, number in counts.most_common():
                say(f"{number:7}  {name}")
    faults = [outcome for outcome in outcomes if outcome.is_server_fault]
    if faults:
        say("\nnot answered, or with 5xx")
        for fault in faults:
            words = f"{fault.status} {fault.code} {fault.detail or ''}"
            say(f"  {_shorten_path(fault.path, folder)}: {words[:MAX_LETTERS]}")
    say("\nslowest files, seconds")
    for slow in _sort_by_duration(outcomes)[:NUM_SHOWN]:
        words = f"{slow.status} {len(slow.pages)} pages"
        say(f"{slow.seconds:7.2f}  {_shorten_path(slow.path, folder)} ({words})")


def print_memory(parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the resident memory of each kind of process."""
    if not parts:
        say("\nno process of the server was found, so its memory is unknown")
        return
    say("\nresident memory, MiB       processes  largest   all at once   at the end")
    for kind, part in sorted(parts.items()):
        say(
            f"  {kind:24}{part['processes']:10}{part['largest']:9.0f}"
            f"{part['all']:14.0f}{part['last']:13.0f}"
        )


def print_differences(
    compared: Sequence[ComparedPage], folder: Path, num_shown: int
) -> None:
    """Print the counts by kind, and the pages that differ, worst first."""
    counts = _count_kinds(compared)
    say(f"\n{len(compared)} pages compared")
    for name, number in counts.most_common():
        say(f"{number:7}  {name}")
    different = _sort_different_pages(compared)
    if different:
        say("\ndifference  mean  tile  correlation  page")
        for page in different[:num_shown]:
            difference = page.difference
            assert difference is not None
            correlation = difference.correlation
            shown = "-" if correlation is None else f"{correlation:.2f}"
            say(
                f"{difference.kind:10}{difference.mean:6.1f}{difference.worst_tile:6.0f}{shown:>13}"
                f"  {_shorten_path(page.path, folder)}, page {page.page}"
            )
        if len(different) > num_shown:
            say(f"... and {len(different) - num_shown} more; --report lists all")


def summarize(
    outcomes: Sequence[PostOutcome],
    compared: Sequence[ComparedPage],
    parts: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the counts, times and megabytes for the last line of the output."""
    seconds = sorted(outcome.seconds for outcome in outcomes)
    return {
        "files": len(outcomes),
        **{
            name.replace(" ", "_"): dict(counts)
            for name, counts in _count_outcomes(outcomes).items()
        },
        "slowest_seconds": round(seconds[-1], 2) if seconds else None,
        "median_seconds": round(seconds[len(seconds) // 2], 3) if seconds else None,
        "megabytes": {kind: part["largest"] for kind, part in parts.items()},
        "compared": dict(_count_kinds(compared)),
    }


def write_report(
    path: Path,
    outcomes: Sequence[PostOutcome],
    compared: Sequence[ComparedPage],
    parts: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write every outcome and every comparison as one JSON object."""
    report = {
        "commit": describe_commit(),
        "megabytes": parts,
        "files": [outcome.to_json() for outcome in _sort_by_duration(outcomes)],
        "pages": [page.to_json() for page in compared],
    }
    path.write_text(json.dumps(report, indent=1) + "\n")


def _count_outcomes(outcomes: Sequence[PostOutcome]) -> dict[str, Counter[str]]:
    statuses = Counter(
        " ".join(filter(None, (str(outcome.status or "lost"), outcome.code)))
        for outcome in outcomes
    )
    return {
        "statuses": statuses,
        "documents": Counter(o.document for o in outcomes if o.document),
        "pages": Counter(page for o in outcomes for page in o.pages),
        "warnings": Counter(code for o in outcomes for code in o.warnings),
    }


def _count_kinds(compared: Sequence[ComparedPage]) -> Counter[str]:
    def name(page: ComparedPage) -> str:
        if page.difference is not None:
            return str(page.difference.kind)
        return f"not decoded: {page.code}" if page.code else "no reference"

    return Counter(map(name, compared))


def _sort_different_pages(compared: Sequence[ComparedPage]) -> list[ComparedPage]:
    different = [
        page
        for page in compared
        if page.difference is not None
        and page.difference.kind is not DifferenceKind.SAME
    ]
    order = list(DifferenceKind)

    def by_kind(page: ComparedPage) -> tuple[int, float]:
        assert page.difference is not None
        return order.index(page.difference.kind), -page.difference.mean

    return sorted(different, key=by_kind)


def _sort_by_duration(outcomes: Sequence[PostOutcome]) -> list[PostOutcome]:
    return sorted(outcomes, key=lambda outcome: -outcome.seconds)


def _shorten_path(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
