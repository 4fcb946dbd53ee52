"""Lines of a report on the results that a command fetched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from deploy.queue.fetch import FetchOutcome, FetchResult
from deploy.results.parse import NUM_NAMED, part_lines

__all__ = ["SUCCESSES", "fetched_lines"]

SUCCESSES = (FetchOutcome.WRITTEN, FetchOutcome.UNCHANGED)


def fetched_lines(
    fetched: Sequence[FetchResult], counts: Counter[FetchOutcome], *, is_dry_run: bool
) -> list[str]:
    """Return lines: how many results were written, and the names of the others.

    `counts` are the outcomes of `fetched`.
    """
    verb = "would write" if is_dry_run else "wrote"
    lines = [
        f"{verb} {counts[FetchOutcome.WRITTEN]:,} results; "
        f"{counts[FetchOutcome.UNCHANGED]:,} were there already"
    ]
    failures = [
        each
        for each in fetched
        if each.outcome not in (*SUCCESSES, FetchOutcome.WAITING)
    ]
    for each in failures[:NUM_NAMED]:
        detail = f": {each.detail}" if each.detail else ""
        lines.append(f"{each.outcome}: {each.target or each.source}{detail}")
    if len(failures) > NUM_NAMED:
        lines.append(f"{len(failures) - NUM_NAMED:,} more; --json names them all")
    return lines + part_lines({each.target or "": each.missing for each in fetched})
