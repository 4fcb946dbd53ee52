"""Failed documents of a batch transform job and their error codes, from its log.

SageMaker logs the object, the status and, on the next lines, the container's answer. If
the answer is cut off, the container's own log line is found by the digest of the
document, if that is known. Otherwise a status for which only one code was logged stands
for that code.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.results.parse import TRANSIENT_CODES

__all__ = ["UNKNOWN", "FailedDocument", "JobLog", "group_by_code"]

UNKNOWN = "unknown"
SAGEMAKER = "[sagemaker logs]: "
STATUS = re.compile(r"(?:ClientError|Bad HTTP status received from algorithm): (\d+)")
NO_ANSWER = "Unable to get response from algorithm"
CODE = re.compile(r'"code":\s*"([a-z0-9_]+)"')
DETAIL = re.compile(r'"detail":\s*("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, slots=True)
class FailedDocument:
    """Document that was not read."""

    name: str
    code: str
    reason: str

    def to_json(self) -> dict[str, str]:
        return {"document": self.name, "code": self.code, "reason": self.reason}


@dataclass
class _ObjectReport:
    """Last log lines of SageMaker about one object."""

    status: int | None = None
    code: str | None = None
    detail: str | None = None
    message: str | None = None
    """Reason why SageMaker gave up without a request to the container."""


@dataclass
class JobLog:
    """Failures and page counts that the log lines of a job tell.

    The lines of different log streams may be added in any order.
    """

    subjects: Collection[str] = ()
    """All objects, as bucket/key; any message of SageMaker about them counts."""

    num_answered: int = 0
    """Number of requests that the container answered with success."""
    num_pages: int = 0
    """Number of pages read in answered documents."""
    page_codes: Counter[str] = field(default_factory=Counter)
    """Error codes of failed pages in documents that were read in part."""
    _documents: defaultdict[str, Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    """Error codes by digest of the document."""
    _missing: dict[str, Mapping[int, str]] = field(default_factory=dict)
    """Error codes of the missing pages, by digest of the document."""
    _reports: dict[str, _ObjectReport] = field(default_factory=dict)
    _codes: defaultdict[int, Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )

    def add_line(self, line: str) -> None:
        """Record what a log line tells about an object or a request; ignore others."""
        if SAGEMAKER in line:
            self._add_sagemaker(line.partition(SAGEMAKER)[2])
        elif line.startswith("{"):
            self._add_request(line)

    def _add_sagemaker(self, text: str) -> None:
        """Read a line `bucket/key: message` of SageMaker.

        A key may contain colons, so every colon is tried as the separator.
        """
        for match in re.finditer(": ?", text):
            subject, message = text[: match.start()], text[match.end() :]
            if status := STATUS.match(message):
                self._reports[subject] = _ObjectReport(status=int(status[1]))
                return
            if message.startswith(NO_ANSWER):
                self._reports[subject] = _ObjectReport()
                return
            if report := self._reports.get(subject):
                if code := CODE.search(message):
                    report.code = code[1]
                if detail := DETAIL.search(message):
                    report.detail = str(json.loads(detail[1]))
                return
            if message and subject in self.subjects:
                self._reports[subject] = _ObjectReport(message=message)
                return

    def _add_request(self, line: str) -> None:
        """Count a request event of the container; ignore lines of other events."""
        try:
            event: Any = json.loads(line)
        except ValueError:
            return
        if not isinstance(event, dict) or event.get("event") != "request":
            return
        status, code = event.get("status"), event.get("code")
        if isinstance(status, int) and status >= 400:
            self._codes[status][str(code or UNKNOWN)] += 1
            self._documents[str(event.get("document"))][str(code or UNKNOWN)] += 1
            return
        failed = event.get("failed_pages") or {}
        self.num_answered += 1
        self.num_pages += int(event.get("pages") or 0) - len(failed)
        self.page_codes.update(str(each) for each in failed.values())
        # SageMaker retries requests without an answer, and keeps the last answer.
        self._missing[str(event.get("document"))] = {
            int(page): str(code) for page, code in failed.items() if page.isdigit()
        }

    def get_missing_pages(
        self, *, may_pass: bool = False
    ) -> Mapping[str, Mapping[int, str]]:
        """Return the error codes of missing pages by page number, by document digest.

        With `may_pass`, return only documents that lack a page because of a transient
        error.
        """
        return {
            digest: pages
            for digest, pages in self._missing.items()
            if (TRANSIENT_CODES & {*pages.values()} if may_pass else pages)
        }

    def list_failed_objects(self) -> Collection[str]:
        """Return the objects that SageMaker has given up so far, as bucket/key."""
        return self._reports.keys()

    def explain_failure(
        self, subject: str, name: str, document: str | None
    ) -> FailedDocument:
        """Return the failure of an object without a result, with its likely cause.

        `subject` is its bucket/key, `name` the name of its document in the answer, and
        `document` the digest by which the container's log names the document, if it is
        known. The code is UNKNOWN if the log says nothing about the object.
        """
        report = self._reports.get(subject)
        if report is not None and report.code is not None:
            return FailedDocument(
                name, report.code, report.detail or f"status {report.status}"
            )
        container_codes = self._documents.get(document or "", Counter())
        if len(container_codes) == 1:
            (code,) = container_codes
            return FailedDocument(name, code, "from the container's log")
        if report is None:
            return FailedDocument(
                name, UNKNOWN, "the log does not mention this document"
            )
        if report.message is not None:
            return FailedDocument(name, "not_sent", report.message)
        if report.status is None:
            return FailedDocument(
                name, "no_answer", "the container did not answer in time"
            )
        codes = self._codes.get(report.status, Counter())
        if len(codes) == 1:
            (code,) = codes
            return FailedDocument(
                name, code, f"status {report.status}, which always has this code"
            )
        reason = " or ".join(sorted(codes)) or "the container's log has no code"
        return FailedDocument(name, f"http_{report.status}", reason)


def group_by_code(
    failures: Iterable[FailedDocument],
) -> dict[str, list[FailedDocument]]:
    """Return failures by error code, the most frequent code first."""
    groups: defaultdict[str, list[FailedDocument]] = defaultdict(list)
    for failure in failures:
        groups[failure.code].append(failure)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))
