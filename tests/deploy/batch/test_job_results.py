"""Results that count as those of a job."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.batch.job import Work
from deploy.batch.jobs import TransformJobs
from deploy.commands.batch.job.jobs import without_result
from deploy.documents.document import Document

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
WORK = (Work("a.pdf", "etag-a", "a.pdf", 4), Work("sub/b.pdf", "etag-b", "b.pdf", 4))
DOCUMENT = Document(
    name="a.pdf",
    source="s3://in/scans/a.pdf",
    media_type="application/pdf",
    size=4,
    content_key="etag-a",
    modified=NOON,
)


class AccountWithBucket:
    """Account with one bucket, whose objects were written at given times."""

    def __init__(self, write_times):
        self._write_times = write_times

    def objects(self, bucket, prefix):
        for key, time in self._write_times.items():
            yield {"Key": f"{prefix}{key}", "LastModified": time}


def names_without_result(results, documents=None):
    remaining = without_result(WORK, results, "s3://in/scans/", documents)
    return [work.name for work in remaining]


def test_result_is_found_at_both_possible_keys():
    assert names_without_result({"a.pdf.out": NOON, "scans/sub/b.pdf.out": NOON}) == []


def test_result_older_than_document_is_ignored():
    documents = {"a.pdf": DOCUMENT}

    assert names_without_result({"a.pdf.out": NOON - HOUR}, documents) == [
        "a.pdf",
        "b.pdf",
    ]
    assert names_without_result({"a.pdf.out": NOON + HOUR}, documents) == ["b.pdf"]


def test_age_of_uploaded_file_does_not_matter():
    documents = {"a.pdf": replace(DOCUMENT, modified=None)}

    assert names_without_result({"a.pdf.out": NOON - HOUR}, documents) == ["b.pdf"]


def test_older_result_is_not_of_the_job():
    write_times = {
        "a.pdf.out": NOON - HOUR,
        "sub/b.pdf.out": NOON + HOUR,
        "sub/notes.txt": NOON + HOUR,
    }
    bucket: Any = AccountWithBucket(write_times)
    transforms = TransformJobs(bucket, "ocr")

    assert names_without_result(
        transforms.list_results("s3://out/md/", since=NOON)
    ) == ["a.pdf"]
    assert names_without_result(transforms.list_results("s3://out/md/")) == []
    assert "sub/notes.txt" not in transforms.list_results("s3://out/md/")
