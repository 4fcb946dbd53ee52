"""Which documents of a job lack pages that another reading may well have.

The container's log says of each request which pages failed and why, and names the
document by a digest. Of files and of lines of a manifest we know that; of objects that
SageMaker read in place we do not, and look into their results.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from deploy.aws.transforms import Transforms
from deploy.documents.results import MAY_PASS, page_codes
from deploy.transform.job import TransformState, Work, outputs_of

__all__ = ["Parts"]


class Parts:
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

    def among(self, read: Sequence[Work], digests: Collection[str]) -> tuple[Work, ...]:
        """Those of `read` that the log has under one of these digests."""
        if not digests:
            return ()
        of_ours = [work for work in read if self._key(work) is not None]
        found = [work for work in of_ours if work.document in digests]
        num_unknown = len(digests) - len({work.document for work in found})
        for work in of_ours:
            if num_unknown and work.document is None and self._lacks_pages(work):
                found.append(work)
                num_unknown -= 1
        return tuple(found)

    def _key(self, work: Work) -> str | None:
        keys = outputs_of(work.key, self._prefix)
        return next((key for key in keys if key in self._results), None)

    def _lacks_pages(self, work: Work) -> bool:
        key = self._key(work)
        assert key is not None
        body = self._transforms.result(self._state.output, key)
        return not MAY_PASS.isdisjoint(page_codes(body, self._state.accept))
