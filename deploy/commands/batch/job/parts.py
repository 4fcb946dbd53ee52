"""Missing pages in the results of a job, and which of them a retry may read.

The container's log says for each request which pages failed and why, and names the
document by a digest. The digests of local files and of lines of a manifest are known.
Those of objects that SageMaker reads in place are not, so their results are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from deploy.batch.job import TransformState, Work, list_possible_outputs
from deploy.batch.jobs import TransformJobs
from deploy.batch.outcome import JobLog
from deploy.results.parse import TRANSIENT_CODES, page_errors

__all__ = ["MissingPages"]

# Results are read sequentially, and a summary must not take minutes.
MAX_RESULTS_READ = 200


class MissingPages:
    """Search for missing pages in the results of one job; reads each result once."""

    def __init__(
        self,
        transforms: TransformJobs,
        state: TransformState,
        prefix: str,
        results: Mapping[str, datetime],
        latest: datetime | None,
    ) -> None:
        """`results` has times by key; those after `latest` are another job's."""
        self._transforms = transforms
        self._state = state
        self._prefix = prefix
        self._results = {
            key: modified
            for key, modified in results.items()
            if latest is None or modified <= latest
        }
        self._missing_by_key: dict[str, Mapping[int, str]] = {}
        """Error codes by page number, for each result that was read."""

    def find(
        self, documents: Sequence[Work], log: JobLog, *, may_pass: bool
    ) -> dict[Work, Mapping[int, str]]:
        """Return error codes of the pages that each document lacks, by page number.

        With `may_pass`, return only documents that lack a page after a transient error,
        and read as many results as that takes. Otherwise read at most 200 results.
        """
        missing = log.get_missing_pages(may_pass=may_pass)
        with_result = [work for work in documents if self._key(work) is not None]
        lacking = {
            work: missing[work.document]
            for work in with_result
            if work.document is not None and work.document in missing
        }
        num_unknown = len(missing) - len({work.document for work in lacking})
        unnamed = [work for work in with_result if work.document is None]
        for work in unnamed if may_pass else unnamed[:MAX_RESULTS_READ]:
            if num_unknown <= 0:
                break
            key = self._key(work)
            assert key is not None
            if key not in self._missing_by_key:
                body = self._transforms.read_result(self._state.output, key)
                errors = page_errors(body, self._state.accept)
                self._missing_by_key[key] = {e["page"]: e["code"] for e in errors}
            pages = self._missing_by_key[key]
            if TRANSIENT_CODES & {*pages.values()} if may_pass else pages:
                lacking[work] = pages
                num_unknown -= 1
        return lacking

    def _key(self, work: Work) -> str | None:
        """Return the key of a document's result; None if it has none."""
        keys = list_possible_outputs(work.key, self._prefix)
        return next((key for key in keys if key in self._results), None)
