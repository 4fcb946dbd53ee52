"""Failed documents and their codes, read from log lines."""

from __future__ import annotations

import json

import pytest

from deploy.batch.outcome import JobLog, group_by_code

HEAD = "2026-11-26T08:00:00.000:[sagemaker logs]: "


def read_log(*lines):
    job_log = JobLog(frozenset({"in/a.pdf", "in/b: c.pdf"}))
    for line in lines:
        job_log.add_line(line)
    return job_log


def request_line(status, code, **more):
    return json.dumps({"event": "request", "status": status, "code": code, **more})


def find_code(job_log, subject="in/a.pdf", document=None):
    return job_log.explain_failure(subject, "a.pdf", document).code


def test_code_is_read_from_repeated_answer():
    job_log = read_log(
        f"{HEAD}in/a.pdf: ClientError: 422",
        f"{HEAD}in/a.pdf: ",
        f"{HEAD}in/a.pdf: Message:",
        f'{HEAD}in/a.pdf: {{"code": "unreadable_document", "detail": "no \\"page\\""}}',
    )

    failure = job_log.explain_failure("in/a.pdf", "a.pdf", None)

    assert failure.code == "unreadable_document"
    assert failure.reason == 'no "page"'


def test_code_is_found_by_digest_of_document():
    job_log = read_log(
        request_line(422, "unreadable_document", document="d1"),
        request_line(422, "invalid_option", document="d2"),
        f"{HEAD}in/a.pdf: ClientError: 422",
    )

    assert find_code(job_log, document="d2") == "invalid_option"


def test_last_answer_decides_on_transient_missing_pages():
    job_log = read_log(
        request_line(200, "ok", document="d1", failed_pages={"2": "engine_failed"}),
        request_line(
            200, "ok", document="d2", failed_pages={"2": "unreadable_document"}
        ),
        request_line(200, "ok", document="d3", failed_pages={"2": "engine_failed"}),
        request_line(200, "ok", document="d3", failed_pages={}),
    )

    assert job_log.get_missing_pages(may_pass=True) == {"d1": {2: "engine_failed"}}
    assert job_log.get_missing_pages().keys() == {"d1", "d2"}


def test_status_with_several_codes_is_reported():
    job_log = read_log(
        request_line(422, "unreadable_document"),
        request_line(422, "invalid_option"),
        f"{HEAD}in/a.pdf: ClientError: 422",
    )

    failure = job_log.explain_failure("in/a.pdf", "a.pdf", None)

    assert failure.code == "http_422"
    assert failure.reason == "invalid_option or unreadable_document"


def test_status_without_code_is_reported():
    job_log = read_log(f"{HEAD}in/a.pdf: Bad HTTP status received from algorithm: 507")

    assert find_code(job_log) == "http_507"


def test_missing_answer_has_its_own_code():
    job_log = read_log(f"{HEAD}in/a.pdf: Unable to get response from algorithm")

    assert find_code(job_log) == "no_answer"


def test_refusal_by_sagemaker_keeps_its_words():
    job_log = read_log(
        f"{HEAD}MaxConcurrentTransforms=4, MaxPayloadInMB=6, BatchStrategy=X",
        f"{HEAD}in/b: c.pdf: Too much data for max payload size",
    )

    failure = job_log.explain_failure("in/b: c.pdf", "b: c.pdf", None)

    assert failure.code == "not_sent"
    assert failure.reason == "Too much data for max payload size"


def test_last_attempt_counts():
    job_log = read_log(
        f"{HEAD}in/a.pdf: Unable to get response from algorithm",
        f"{HEAD}in/a.pdf: ClientError: 422",
        f'{HEAD}in/a.pdf: {{"code": "unreadable_document"}}',
    )

    assert find_code(job_log) == "unreadable_document"


@pytest.mark.parametrize("key", ["in/a: b.pdf", "in/12:30.pdf", "in/ClientError.pdf"])
def test_key_may_contain_colons(key):
    job_log = read_log(
        f"{HEAD}{key}: ClientError: 415",
        f'{HEAD}{key}: {{"code": "unsupported_media_type"}}',
    )

    assert find_code(job_log, key) == "unsupported_media_type"


def test_object_without_line_is_unknown():
    assert find_code(read_log("anything", '{"event": "request"', '["a"]')) == "unknown"


def test_failed_pages_are_counted_separately():
    job_log = read_log(
        request_line(200, None, pages=3, failed_pages={"2": "deadline_exceeded"}),
        request_line(200, None, pages=2, failed_pages={}),
    )

    assert job_log.num_pages == 4
    assert job_log.page_codes == {"deadline_exceeded": 1}


def test_most_frequent_code_comes_first():
    job_log = read_log(
        f"{HEAD}in/a: ClientError: 500",
        f"{HEAD}in/b: ClientError: 422",
        f"{HEAD}in/c: ClientError: 422",
    )

    groups = group_by_code(
        job_log.explain_failure(f"in/{name}", name, None) for name in "abc"
    )

    assert {code: len(group) for code, group in groups.items()} == {
        "http_422": 2,
        "http_500": 1,
    }
    assert next(iter(groups)) == "http_422"
