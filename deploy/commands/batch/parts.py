"""Which documents of a job lack pages, and which of these another reading may have.

The container's log says of each request which pages failed and why, and names the
document by a digest. Of files and of lines of a manifest we know that; of objects that
SageMaker read in place we do not, and look into their results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from deploy.batch.job import TransformState, Work, outputs_of
from deploy.batch.jobs import Transforms
from deploy.batch.outcome import JobLog
from deploy.results.parse import TRANSIENT_CODES, page_errors

__all__ = ["JobParts"]

# Results are read one after the other: a summary is not worth minutes.
MAX_LOOKED_INTO = 200


class JobParts:
    """Of one job."""

    def __init__(
        self,
        transforms: Transforms,
        state: TransformState,
        prefix: str,
        results: Mapping[str, datetime],
        latest: datetime | None,
    ) -> None:
        """`latest`: what was written later is another job's."""
        self._transforms = transforms
        self._state = state
        self._prefix = prefix
        self._results = {
            key: written
            for key, written in results.items()
            if latest is None or written <= latest
        }
        self._looked_into: dict[str, Mapping[int, str]] = {}

    def among(
        self, read: Sequence[Work], log: JobLog, *, may_pass: bool
    ) -> dict[Work, Mapping[int, str]]:
        """Codes of the pages that each of `read` lacks, by their numbers.

        With `may_pass`, only of those that lack some for what may pass, and of all of
        them. Otherwise of so many as are told of without reading many results.
        """
        missing = log.missing(may_pass=may_pass)
        of_ours = [work for work in read if self._key(work) is not None]
        found = {
            work: missing[work.document]
            for work in of_ours
            if work.document is not None and work.document in missing
        }
        num_unknown = len(missing) - len({work.document for work in found})
        unnamed = [work for work in of_ours if work.document is None]
        for work in unnamed if may_pass else unnamed[:MAX_LOOKED_INTO]:
            if num_unknown <= 0:
                break
            pages = self._missing(work)
            if TRANSIENT_CODES & {*pages.values()} if may_pass else pages:
                found[work] = pages
                num_unknown -= 1
        return found

    def _key(self, work: Work) -> str | None:
        keys = outputs_of(work.key, self._prefix)
        return next((key for key in keys if key in self._results), None)

    def _missing(self, work: Work) -> Mapping[int, str]:
        """As its result says it; read once."""
        key = self._key(work)
        assert key is not None
        if key not in self._looked_into:
            body = self._transforms.result(self._state.output, key)
            errors = page_errors(body, self._state.accept)
            self._looked_into[key] = {e["page"]: e["code"] for e in errors}
        return self._looked_into[key]
