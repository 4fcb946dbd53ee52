"""Objects of a job for its documents, and the estimated number of pages."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from deploy.batch.documents import (
    MAX_BYTES,
    build_batch,
    estimate_work,
    select_sample,
    sum_workload,
)
from deploy.batch.job import common_prefix, list_possible_outputs
from deploy.documents.document import Document
from deploy.errors import ConfigError


def stored_document(key, *, size=1000, kind="application/pdf", **more):
    uri = f"s3://inbox/{key}"
    name = key.rpartition("/")[2]
    return Document(name, uri, kind, size, f"{uri} etag {size}", **more)


def local_document(name, content=b"fine", **more):
    digest = hashlib.sha256(content).hexdigest()
    size = len(content)
    return Document(name, f"/home/{name}", "application/pdf", size, digest, **more)


def prepare_batch(uri, *documents, bucket="weights", is_manifest=False):
    return build_batch(
        uri, documents, deployment="ocr", bucket=bucket, is_manifest=is_manifest
    )


@pytest.mark.parametrize(
    ("uri", "prefix", "keys"),
    [
        ("s3://inbox/scans/", "s3://inbox/scans/", ["a.pdf", "sub/b.pdf"]),
        ("s3://inbox/scans", "s3://inbox/scans/", ["a.pdf", "sub/b.pdf"]),
        ("s3://inbox", "s3://inbox/", ["scans/a.pdf", "scans/sub/b.pdf"]),
    ],
)
def test_objects_below_prefix_are_not_copied(uri, prefix, keys):
    prepared = prepare_batch(
        uri, stored_document("scans/a.pdf"), stored_document("scans/sub/b.pdf")
    )

    assert prepared.prefix == prefix
    assert [work.key for work in prepared.work] == keys
    assert (prepared.bodies, prepared.files, prepared.places) == ({}, {}, ())


def test_single_object_is_a_batch():
    prepared = prepare_batch("s3://inbox/scans/a.pdf", stored_document("scans/a.pdf"))

    assert (prepared.prefix, prepared.work[0].key) == ("s3://inbox/scans/", "a.pdf")


def test_file_is_uploaded_under_its_digest():
    prepared = prepare_batch("here", local_document("sub/a.pdf"))
    changed = prepare_batch("here", local_document("sub/a.pdf", b"changed"))

    (key,) = prepared.files
    assert key == f"transforms/ocr/documents/{prepared.work[0].key}"
    assert key.endswith("/sub/a.pdf")
    assert [*changed.files] != [key]
    assert prepared.work[0].document == hashlib.sha256(b"fine").hexdigest()[:16]


def test_file_without_model_bucket_is_refused():
    with pytest.raises(ConfigError, match=r"model\.bucket"):
        prepare_batch("here", local_document("a.pdf"), bucket=None)


def test_different_types_give_generic_content_type():
    same = prepare_batch(
        "s3://inbox", stored_document("a.pdf"), stored_document("b.pdf")
    )
    mixed = prepare_batch(
        "s3://inbox",
        stored_document("a.pdf"),
        stored_document("b.png", kind="image/png"),
    )

    assert same.content_type == "application/pdf"
    assert mixed.content_type == "application/octet-stream"


def test_too_large_objects_are_set_apart():
    prepared = prepare_batch("s3://inbox", stored_document("a.pdf", size=MAX_BYTES),
                  stored_document("b.pdf", size=MAX_BYTES + 1))  # fmt: skip

    assert [work.key for work in prepared.work] == ["a.pdf"]
    assert [document.name for document in prepared.too_large] == ["b.pdf"]


def test_manifest_line_becomes_a_request():
    prepared = prepare_batch(
        "list.jsonl",
        stored_document("a.pdf", size=MAX_BYTES + 1, options={"pages": "1-5"}),
        local_document("b.pdf"),
        is_manifest=True,
    )

    bodies = {json.loads(body)["s3_uri"]: json.loads(body) for body in
              prepared.bodies.values()}  # fmt: skip
    assert bodies["s3://inbox/a.pdf"]["pages"] == "1-5"
    assert prepared.content_type == "application/json"
    assert prepared.places == ("inbox", "weights/transforms/ocr/documents")
    assert prepared.too_large == ()
    (uploaded,) = prepared.files
    assert f"s3://weights/{uploaded}" in bodies
    by_name = {work.name: work.document for work in prepared.work}
    assert by_name["a.pdf"] == hashlib.sha256(b"s3://inbox/a.pdf").hexdigest()[:16]


def test_parts_of_a_document_have_different_keys():
    prepared = prepare_batch(
        "list.jsonl",
        stored_document("a.pdf", options={"pages": "1-5"}),
        stored_document("a.pdf", options={"pages": "6-9"}),
        is_manifest=True,
    )

    assert len({work.key for work in prepared.work}) == 2


def test_unknown_pages_are_the_mean_of_the_sample():
    documents = [stored_document(f"{n}.pdf") for n in range(10)] + [
        stored_document("x.pdf", num_pages=7)
    ]
    prepared = prepare_batch("s3://inbox", *documents)

    work = estimate_work(prepared, {"s3://inbox/0.pdf": 4, "s3://inbox/5.pdf": 2})

    assert sum_workload(work).num_pages == 4 + 2 + 8 * 3 + 7
    assert sum_workload(work).longest_pages == 7


def test_pages_are_estimated_from_size_without_sample():
    prepared = prepare_batch("s3://inbox", stored_document("a.pdf", size=1_000_000))

    assert sum_workload(estimate_work(prepared, {})).num_pages == 10


def test_sample_is_spread_and_limited_in_bytes():
    small = [stored_document(f"{n:03}.pdf") for n in range(100)]
    large = [replace(document, size=30 * 1024 * 1024) for document in small]
    huge = [replace(document, size=40 * 1024 * 1024) for document in small]

    assert len(select_sample(small)) == 16
    assert select_sample(small)[-1].name > "080"
    assert len(select_sample(large)) == 3
    assert select_sample(huge) == []
    assert select_sample([stored_document("a.png", num_pages=1)]) == []


@pytest.mark.parametrize("count", [17, 31, 32, 47, 100])
def test_sample_has_no_gap_longer_than_its_step(count):
    documents = [stored_document(f"{n:03}.pdf") for n in range(count)]

    indices = [documents.index(each) for each in select_sample(documents)]

    ends = [*indices[1:], count]
    gaps = [end - start for start, end in zip(indices, ends, strict=True)]
    assert len(indices) == 16
    assert max(gaps) <= -(-count // 16)


def test_result_has_two_documented_keys():
    assert list_possible_outputs("sub/a.pdf", "s3://inbox/scans/") == (
        "sub/a.pdf.out",
        "scans/sub/a.pdf.out",
    )


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        ("a.pdf", "s3://inbox/"),
        ("scans/a.pdf", "s3://inbox/scans/"),
        ("/a.pdf", "s3://inbox//"),
        ("scans//a.pdf", "s3://inbox/scans//"),
    ],
)
def test_common_prefix_keeps_all_slashes(key, prefix):
    uri = f"s3://inbox/{key}"

    assert common_prefix(uri, [uri]) == prefix
