"""Report the results that a command fetched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from deploy.queue.fetch import FetchOutcome, FetchResult
from deploy.results.parse import NUM_NAMED, part_lines

__all__ = ["FINE", "fetched_lines"]

FINE = (FetchOutcome.WRITTEN, FetchOutcome.UNCHANGED)


def fetched_lines(
    fetched: Sequence[FetchResult], counts: Counter[FetchOutcome], *, is_dry_run: bool
) -> list[str]:
    """Return how many results were written, and name those that were not.

    `counts` are the outcomes of `fetched`.
    """
    verb = "would write" if is_dry_run else "wrote"
    lines = [
        f"{verb} {counts[FetchOutcome.WRITTEN]:,} results; "
        f"{counts[FetchOutcome.UNCHANGED]:,} were there already"
    ]
    odd = [
        each for each in fetched if each.outcome not in (*FINE, FetchOutcome.WAITING)
    ]
    for each in odd[:NUM_NAMED]:
        detail = f": {each.detail}" if each.detail else ""
        lines.append(f"{each.outcome}: {each.target or each.source}{detail}")
    if len(odd) > NUM_NAMED:
        lines.append(f"{len(odd) - NUM_NAMED:,} more; --json names them all")
    return lines + part_lines({each.target or "": each.missing for each in fetched})
