"""Which document failed with which code, from what the log says."""

from __future__ import annotations

import json

import pytest

from deploy.batch.outcome import JobLog, group_by_code

HEAD = "2026-11-26T08:00:00.000:[sagemaker logs]: "


def log(*lines):
    found = JobLog(frozenset({"in/a.pdf", "in/b: c.pdf"}))
    for line in lines:
        found.add(line)
    return found


def request(status, code, **more):
    return json.dumps({"event": "request", "status": status, "code": code, **more})


def code(found, subject="in/a.pdf", document=None):
    return found.failure(subject, "a.pdf", document).code


def test_code_is_read_from_repeated_answer():
    found = log(
        f"{HEAD}in/a.pdf: ClientError: 422",
        f"{HEAD}in/a.pdf: ",
        f"{HEAD}in/a.pdf: Message:",
        f'{HEAD}in/a.pdf: {{"code": "unreadable_document", "detail": "no \\"page\\""}}',
    )

    failure = found.failure("in/a.pdf", "a.pdf", None)

    assert failure.code == "unreadable_document"
    assert failure.reason == 'no "page"'


def test_code_is_found_by_digest_of_document():
    found = log(
        request(422, "unreadable_document", document="d1"),
        request(422, "invalid_option", document="d2"),
        f"{HEAD}in/a.pdf: ClientError: 422",
    )

    assert code(found, document="d2") == "invalid_option"


def test_last_answer_decides_on_transient_missing_pages():
    found = log(
        request(200, "ok", document="d1", failed_pages={"2": "engine_failed"}),
        request(200, "ok", document="d2", failed_pages={"2": "unreadable_document"}),
        request(200, "ok", document="d3", failed_pages={"2": "engine_failed"}),
        request(200, "ok", document="d3", failed_pages={}),
    )

    assert found.missing(may_pass=True) == {"d1": {2: "engine_failed"}}
    assert found.missing().keys() == {"d1", "d2"}


def test_status_with_several_codes_is_reported():
    found = log(
        request(422, "unreadable_document"),
        request(422, "invalid_option"),
        f"{HEAD}in/a.pdf: ClientError: 422",
    )

    failure = found.failure("in/a.pdf", "a.pdf", None)

    assert failure.code == "http_422"
    assert failure.reason == "invalid_option or unreadable_document"


def test_status_without_code_is_reported():
    found = log(f"{HEAD}in/a.pdf: Bad HTTP status received from algorithm: 507")

    assert code(found) == "http_507"


def test_missing_answer_has_its_own_code():
    found = log(f"{HEAD}in/a.pdf: Unable to get response from algorithm")

    assert code(found) == "no_answer"


def test_refusal_by_sagemaker_keeps_its_words():
    found = log(
        f"{HEAD}MaxConcurrentTransforms=4, MaxPayloadInMB=6, BatchStrategy=X",
        f"{HEAD}in/b: c.pdf: Too much data for max payload size",
    )

    failure = found.failure("in/b: c.pdf", "b: c.pdf", None)

    assert failure.code == "not_sent"
    assert failure.reason == "Too much data for max payload size"


def test_last_attempt_counts():
    found = log(
        f"{HEAD}in/a.pdf: Unable to get response from algorithm",
        f"{HEAD}in/a.pdf: ClientError: 422",
        f'{HEAD}in/a.pdf: {{"code": "unreadable_document"}}',
    )

    assert code(found) == "unreadable_document"


@pytest.mark.parametrize("key", ["in/a: b.pdf", "in/12:30.pdf", "in/ClientError.pdf"])
def test_key_may_contain_colons(key):
    found = log(
        f"{HEAD}{key}: ClientError: 415",
        f'{HEAD}{key}: {{"code": "unsupported_media_type"}}',
    )

    assert code(found, key) == "unsupported_media_type"


def test_object_without_line_is_unknown():
    assert code(log("anything", '{"event": "request"', '["a"]')) == "unknown"


def test_failed_pages_are_counted_separately():
    found = log(
        request(200, None, pages=3, failed_pages={"2": "deadline_exceeded"}),
        request(200, None, pages=2, failed_pages={}),
    )

    assert found.num_pages == 4
    assert found.page_codes == {"deadline_exceeded": 1}


def test_most_frequent_code_comes_first():
    found = log(
        f"{HEAD}in/a: ClientError: 500",
        f"{HEAD}in/b: ClientError: 422",
        f"{HEAD}in/c: ClientError: 422",
    )

    groups = group_by_code(found.failure(f"in/{name}", name, None) for name in "abc")

    assert {code: len(group) for code, group in groups.items()} == {
        "http_422": 2,
        "http_500": 1,
    }
    assert next(iter(groups)) == "http_422"
