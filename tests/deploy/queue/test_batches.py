"""Retrying, waiting for and fetching a selection of a ledger's documents."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, settings, strategies as st

from deploy.documents.entries import parse_manifest
from deploy.errors import ConfigError
from tests.deploy.contents import PDF, PNG
from tests.deploy.queue.queued import BROKEN, DYING, FakeQueue

CONFIG = """
[network]
isolation = false
[asynchronous]
bucket = "exchange"
sources = ["scans"]
"""


@pytest.fixture
def queue(cloud, wire, project):
    for bucket in ("exchange", "scans"):
        wire.call("s3", "create_bucket", Bucket=bucket)
    project(CONFIG)
    cloud.invoked = FakeQueue(wire)
    return cloud.invoked


@pytest.fixture
def folders(tmp_path):
    """Return two folders with one document each."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.pdf").write_bytes(PDF + name.encode())
    return tmp_path / "first", tmp_path / "second"


def put_object(wire, key, content):
    wire.call("s3", "put_object", Bucket="scans", Key=key, Body=PDF + content)


@pytest.fixture
def failed_folder(chandra, queue, tmp_path):
    """Submit two documents that fail: one for good, one with a transient error."""
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "broken.pdf").write_bytes(PDF + BROKEN)
    (folder / "fine.pdf").write_bytes(PDF + DYING)
    chandra("async", "submit", str(folder))
    queue.process_waiting()
    chandra("async", "wait")
    queue.accepted.clear()
    return folder


def test_permanent_failures_are_not_retried(chandra, queue, failed_folder):
    result = chandra("async", "submit", "--retry-failed", "--json")

    broken = str(failed_folder / "broken.pdf")
    assert result.status == 1
    assert result.json["submitted"] == len(queue.accepted) == 1
    assert result.json["given_up"] == {broken: "unreadable_document"}


def test_permanent_failures_are_listed_with_advice(chandra, queue, failed_folder):
    submit_result = chandra("async", "submit", str(failed_folder), "--retry-failed")
    wait_result = chandra("async", "wait", "--timeout", "1")
    queue.process_waiting()
    wait_result = chandra("async", "wait")
    fetch_result = chandra("async", "fetch")

    for result in (submit_result, wait_result, fetch_result):
        assert f"with unreadable_document: {failed_folder / 'broken.pdf'}" in result.out
        assert "try: repair or replace the file: it is damaged or empty" in result.out
    assert "--retry-all reads these again too, and pays again" in submit_result.out


def test_only_broken_documents_recommend_no_retry(chandra, queue, tmp_path):
    (tmp_path / "broken.pdf").write_bytes(PDF + BROKEN)
    chandra("async", "submit", str(tmp_path / "broken.pdf"))
    queue.process_waiting()

    for command in ("wait", "fetch"):
        result = chandra("async", command)
        assert result.status == 1
        assert "--retry-failed" not in result.out


def test_retry_all_sends_every_failed_document(chandra, queue, failed_folder):
    dry_result = chandra("async", "submit", "--retry-all", "--dry-run", "--json")
    result = chandra("async", "submit", "--retry-all", "--json")

    assert dry_result.json["would_submit"] == 2
    assert (result.status, result.json["submitted"]) == (0, 2)
    assert result.json["given_up"] == {}


# Inputs


def test_waiting_for_one_folder_does_not_wait_for_another(chandra, queue, folders):
    first, second = folders
    chandra("async", "submit", str(first))
    queue.process_waiting()
    chandra("async", "submit", str(second))

    result = chandra("async", "wait", str(first), "--json")

    assert result.status == 0
    assert (result.json["documents"], result.json["read"]) == (1, 1)
    assert chandra("async", "wait", "--timeout", "1").status == 7


def test_single_folder_can_be_fetched(chandra, queue, folders):
    first, second = folders
    chandra("async", "submit", str(first), str(second))
    queue.process_waiting()

    result = chandra("async", "fetch", str(second / "a.pdf"), "--json")

    assert result.status == 0
    assert [each["document"] for each in result.json["results"]] == [
        str(second / "a.pdf")
    ]
    assert not (first / "a.pdf.md").exists()
    assert (second / "a.pdf.md").read_text() == "# second\n"


@pytest.mark.parametrize(
    ("into", "words"), [("", "--into is empty"), ("s3://", "must be s3://bucket/key")]
)
def test_invalid_into_is_refused(chandra, queue, folders, into, words):
    chandra("async", "submit", str(folders[0]))

    result = chandra("async", "fetch", "--into", into)

    assert result.status == 2
    assert words in result.err


def test_partial_fetch_uses_same_names_as_full_fetch(chandra, queue, folders, tmp_path):
    for folder in folders:
        chandra("async", "submit", str(folder))
    queue.process_waiting()
    alone, together = tmp_path / "alone", tmp_path / "together"

    for folder in folders:
        chandra("async", "fetch", str(folder), "--into", str(alone))
    chandra("async", "fetch", "--into", str(together))

    names = {path.name for path in alone.iterdir()}
    assert len(names) == 2
    assert names == {path.name for path in together.iterdir()}


def test_prefix_and_manifest_select_submitted_documents(chandra, queue, wire, tmp_path):
    for key in ("2025/a.pdf", "2026/b.pdf", "2026-old/c.pdf"):
        put_object(wire, key, key.encode())
    chandra("async", "submit", "s3://scans/")
    manifest = tmp_path / "wanted.jsonl"
    manifest.write_text('{"document": "s3://scans/2025/a.pdf"}\n')
    queue.process_waiting()

    for named, expected in (
        ("s3://scans/2026", ["s3://scans/2026/b.pdf"]),
        ("s3://scans/2026-old/c.pdf", ["s3://scans/2026-old/c.pdf"]),
        (str(manifest), ["s3://scans/2025/a.pdf"]),
    ):
        result = chandra("async", "fetch", named, "--json")
        assert [each["document"] for each in result.json["results"]] == expected


def test_line_selects_the_pages_it_names(chandra, queue, wire, tmp_path):
    put_object(wire, "a.pdf", b"first")
    manifests = []
    for pages in ("1-5", "6-9"):
        manifests.append(tmp_path / f"{pages}.jsonl")
        line = {"document": "s3://scans/a.pdf", "pages": pages}
        manifests[-1].write_text(json.dumps(line))
        chandra("async", "submit", str(manifests[-1]))

    result = chandra("async", "wait", str(manifests[0]), "--dry-run", "--json")

    assert result.json["documents"] == 1


@pytest.mark.parametrize("command", ["wait", "fetch"])
def test_input_that_was_not_submitted_is_not_found(chandra, queue, folders, command):
    first, second = folders
    chandra("async", "submit", str(first))

    result = chandra("async", command, str(second))

    assert result.status == 4
    assert f"nothing of {second} is in the ledger" in result.err
    assert f"try:   chandra-sagemaker async submit {second}" in result.err


# Names


@pytest.mark.parametrize(
    "keys",
    [
        ("x//y.pdf", "x/y.pdf"),
        ("Y.pdf", "y.pdf"),
        ("\u00e9.pdf", "e\u0301.pdf"),
        ("x./y.pdf", "x/y.pdf"),
        ("y", "y.md/z.pdf"),
    ],
)
def test_equal_names_get_distinct_files(chandra, queue, wire, tmp_path, keys):
    for number, key in enumerate(keys):
        put_object(wire, f"in/{key}", f"number {number}".encode())
    chandra("async", "submit", "s3://scans/in/")
    queue.process_waiting()

    fetch_result = chandra("async", "fetch", "--into", str(tmp_path / "md"))
    second_result = chandra("async", "fetch", "--into", str(tmp_path / "md"))

    files = [path for path in (tmp_path / "md").rglob("*.md") if path.is_file()]
    assert fetch_result.status == second_result.status == 0, fetch_result.out
    assert {path.read_text() for path in files} == {"# number 0\n", "# number 1\n"}
    compared = {unicodedata.normalize("NFC", str(path)).casefold() for path in files}
    assert len({path.replace("./", "/") for path in compared}) == 2


# Manifests

MEMBER_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=6)
MANIFEST_LINES = st.one_of(
    st.builds(lambda name: {"document": f"s3://b/{name}"}, st.text("abc", min_size=1)),
    st.dictionaries(
        st.sampled_from(["document", "pages", "name", "page"]), MEMBER_VALUES
    ),
    MEMBER_VALUES,
).map(json.dumps) | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)


@given(st.lists(MANIFEST_LINES, max_size=12))
@settings(max_examples=50)
def test_manifest_is_read_or_all_invalid_lines_reported(lines):
    content = "\n".join(lines).encode()
    alone: list[int | None] = []
    for line in lines:
        try:
            alone.append(len(parse_manifest(line.encode(), "one", is_stored=True)))
        except ConfigError:
            alone.append(None)

    wrong = [number for number, each in enumerate(alone, start=1) if each is None]
    try:
        entries = parse_manifest(content, "all", is_stored=True)
    except ConfigError as error:
        named = [
            n
            for n in wrong
            if f"all line {n} " in f"{error.message} ".replace(":", " ")
        ]
        assert named == wrong[:10]
        assert wrong
    else:
        assert not wrong
        assert len(entries) == sum(each or 0 for each in alone)


def test_each_invalid_line_has_its_own_reason(chandra, queue, tmp_path):
    manifest = tmp_path / "wanted.jsonl"
    manifest.write_text(
        '{"document": "s3://scans/a.pdf", "pages": "two"}\n'
        '{"doc": "s3://scans/a.pdf"}\n'
        "not json\n"
        '{"document": "s3://scans/a.pdf", "pagse": "1"}\n'
    )

    result = chandra("async", "submit", str(manifest))

    assert result.status == 2
    for words in (
        "line 1: pages look like",
        "line 2 must be an object that names a document",
        "line 3 is not JSON",
        "line 4: unknown option pagse",
    ):
        assert words in result.err
    assert queue.accepted == []


def test_missing_document_is_sent_once_it_exists(chandra, queue, wire, tmp_path):
    put_object(wire, "a.pdf", b"first")
    manifest = tmp_path / "wanted.jsonl"
    uris = ["s3://scans/a.pdf", "s3://scans/gone.pdf"]
    manifest.write_text("\n".join(json.dumps({"document": uri}) for uri in uris))
    chandra("async", "submit", str(manifest))
    queue.process_waiting()

    wait_result = chandra("async", "wait", str(manifest), "--json")
    put_object(wire, "gone.pdf", PNG)
    second_result = chandra("async", "submit", "--retry-failed", "--json")

    assert wait_result.status == 1
    assert wait_result.json["failures"] == {"document_not_found": 1}
    assert second_result.json["submitted"] == 1
