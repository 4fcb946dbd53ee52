"""Tests of manifests of documents in S3, with the emulator and the real server.

The command line reads the manifest, and the container fetches the documents from the S3
that the emulator forwards to.
"""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from deploy.emulator.account import EmulatedAccount
from tests import documents
from tests.deploy.accounts import IMAGE
from tests.deploy.emulator.conftest import (
    BUCKET,
    CREDENTIAL_VARIABLES,
    REGION,
    build_real_server,
    create_command_runner,
    run_emulator,
)
from tests.marks import needs_the_plugin

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    needs_the_plugin,
]

CLOSED_BUCKET = "closed"
"""Bucket that chandra.toml names, with a policy that denies reading its objects."""
UNLISTED_BUCKET = "elsewhere"
"""Bucket that chandra.toml does not name."""
CONFIG = f"""
name = "reading"
region = "{REGION}"
[image]
uri = "{IMAGE}"
[model]
bucket = "{BUCKET}"
source = "hub"
revision = "0123abc"
[network]
isolation = false
[transform]
buckets = ["{BUCKET}", "{CLOSED_BUCKET}"]
[asynchronous]
bucket = "{BUCKET}"
sources = ["{BUCKET}/scans", "{CLOSED_BUCKET}"]
"""
BOOK_URI = f"s3://{BUCKET}/scans/book.pdf"
PAGE_URI = f"s3://{BUCKET}/scans/page.png"
VANISHED_URI = f"s3://{BUCKET}/scans/vanished.pdf"
MISSING_URI = f"s3://{BUCKET}/scans/missing.pdf"
SECRET_URI = f"s3://{CLOSED_BUCKET}/secret.pdf"
FOREIGN_URI = f"s3://{UNLISTED_BUCKET}/foreign.pdf"
MANIFEST_LINES = (
    {"document": BOOK_URI, "pages": "1-2"},
    {"document": PAGE_URI},
    {"document": VANISHED_URI, "pages": "1"},
    {"document": MISSING_URI, "pages": "1"},
    {"document": SECRET_URI, "pages": "1"},
    {"document": FOREIGN_URI},
)


@pytest.fixture(scope="module")
def emulator():
    """Emulator that starts a server for every endpoint and job, as SageMaker does.

    Its containers have credentials, as a role would provide them.
    """
    server = build_real_server(**CREDENTIAL_VARIABLES)
    with closing(EmulatedAccount()) as moto, run_emulator(moto, server) as running:
        running.publish(IMAGE)
        yield running


@pytest.fixture(scope="module")
def manifest(emulator, tmp_path_factory):
    """Write documents to three buckets; return a manifest that also names a missing
    one."""
    s3 = emulator.client("s3")
    for bucket in (BUCKET, CLOSED_BUCKET, UNLISTED_BUCKET):
        s3.create_bucket(Bucket=bucket)
    pdf = documents.pdf([["Page 1"], ["Page 2"], ["Page 3"]])
    emulator.put_object("scans/book.pdf", pdf)
    emulator.put_object(
        "scans/page.png", documents.as_png(documents.text_page(["A page"]))
    )
    emulator.put_object("secret.pdf", pdf, CLOSED_BUCKET)
    emulator.put_object("foreign.pdf", pdf, UNLISTED_BUCKET)
    denied = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{CLOSED_BUCKET}/*",
    }
    s3.put_bucket_policy(
        Bucket=CLOSED_BUCKET,
        Policy=json.dumps({"Version": "2012-10-17", "Statement": [denied]}),
    )
    path = tmp_path_factory.mktemp("manifest") / "list.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in MANIFEST_LINES))
    return path


@pytest.fixture
def delete_document(emulator, manifest):
    """Write a document of the manifest; return a function that deletes it again."""
    emulator.put_object("scans/vanished.pdf", documents.pdf([["Page 1"]]))

    def delete():
        emulator.client("s3").delete_object(Bucket=BUCKET, Key="scans/vanished.pdf")

    return delete


@pytest.fixture
def chandra(emulator, tmp_path):
    """Return a function that runs a command against the emulator, with `--json`."""
    path = tmp_path / "chandra.toml"
    path.write_text(CONFIG)
    command = create_command_runner(emulator, path, assume_yes=True)

    def run(*arguments):
        status, out, err = command(*arguments, "--json")
        return status, json.loads(out or "null"), err

    return run


def test_queue_reads_or_reports_every_line_of_a_manifest(
    chandra, emulator, manifest, delete_document, tmp_path
):
    # Do not wait: the container must start after the document is deleted.
    status, deployed, err = chandra("async", "deploy", "--no-wait")
    assert status == 0, (deployed, err)
    status, submitted, err = chandra(
        "async", "submit", str(manifest), "--max-output-tokens", "20"
    )
    delete_document()

    assert not any(
        each.was_healthy for each in emulator.instance.fleet.list_containers()
    )
    assert status == 1, err
    assert submitted["submitted"] == 4
    refused = {uri: each["code"] for uri, each in submitted["refused"].items()}
    assert refused == {
        MISSING_URI: "document_not_found",
        FOREIGN_URI: "document_forbidden",
    }

    status, waited, err = chandra("async", "wait")
    assert status == 1, err
    assert (waited["read"], waited["failed"], waited["waiting"]) == (2, 4, 0)
    assert waited["failures"] == {"document_not_found": 2, "document_forbidden": 2}
    status, _, err = chandra(
        "async", "fetch", "--format", "json", "--into", str(tmp_path / "results")
    )

    assert status == 1, err
    results = {
        path.name: json.loads(path.read_text())
        for path in (tmp_path / "results").iterdir()
    }
    assert set(results) == {
        "book.pages-1-2.pdf.json",
        "page.png.json",
        "vanished.pages-1.pdf.error.json",
        "secret.pages-1.pdf.error.json",
        # These two documents were not submitted.
        "missing.pages-1.pdf.error.json",
        "foreign.pdf.error.json",
    }
    missing = results["missing.pages-1.pdf.error.json"]
    assert (missing["document"], missing["code"]) == (MISSING_URI, "document_not_found")
    book = results["book.pages-1-2.pdf.json"]
    assert [page["page"] for page in book["pages"]] == [1, 2]
    assert len(results["page.png.json"]["pages"]) == 1
    vanished = results["vanished.pages-1.pdf.error.json"]
    assert (vanished["document"], vanished["code"]) == (
        VANISHED_URI,
        "document_not_found",
    )
    secret = results["secret.pages-1.pdf.error.json"]
    assert (secret["document"], secret["code"]) == (SECRET_URI, "document_forbidden")


def test_job_reads_or_reports_every_line_of_a_manifest(
    chandra, emulator, manifest, delete_document
):
    output = f"s3://{BUCKET}/out/"
    arguments = ("transform", "start", str(manifest), output, "--format", "json")
    status, started, err = chandra(*arguments, "--no-wait")
    delete_document()
    assert status == 1, err
    left_out = {each["document"]: each["code"] for each in started["left_out"]}
    assert left_out == {
        MISSING_URI: "document_not_found",
        FOREIGN_URI: "document_forbidden",
    }

    status, summary, err = chandra("transform", "wait", started["job"])

    assert status == 1, err
    assert (summary["documents"], summary["read"]) == (4, 2)
    failures = {each["document"]: each["code"] for each in summary["failures"]}
    assert failures == {
        "vanished.pages-1.pdf": "document_not_found",
        "secret.pages-1.pdf": "document_forbidden",
    }
    results = {
        key.rpartition("/")[2]: json.loads(emulator.get_object(f"s3://{BUCKET}/{key}"))
        for key in emulator.list_keys("out/")
    }
    assert set(results) == {"book.pages-1-2.pdf.out", "page.png.out"}
    book = results["book.pages-1-2.pdf.out"]
    assert [page["page"] for page in book["pages"]] == [1, 2]
