"""Results of a queue, written beside their documents."""

from __future__ import annotations

import json

import pytest

from tests.deploy.contents import PDF
from tests.deploy.queue.queued import (
    DYING,
    answer_to,
    get,
    put,
)


def test_results_are_written_beside_documents(chandra, queue, folder):
    chandra("async", "submit", str(folder))
    queue.read()

    ran = chandra("async", "fetch")

    assert ran.status == 1
    assert (folder / "a.pdf.md").read_text() == "# first\n"
    assert (folder / "2026" / "b.png.md").read_text() == "# second\n"
    error = json.loads((folder / "c.pdf.error.json").read_text())
    assert error["code"] == "unreadable_document"
    assert error["document"] == str(folder / "c.pdf")
    assert "failed: " in ran.out


@pytest.mark.parametrize("format_name", ["md", "html", "json"])
def test_json_is_converted_to_every_format(chandra, queue, folder, format_name):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.read()

    ran = chandra("async", "fetch", "--format", format_name)

    text = (folder / f"a.pdf.{format_name}").read_text()
    assert ran.status == 0, ran.err
    assert {"md": "# first", "html": "<p>first 2</p>", "json": '"pages"'}[
        format_name
    ] in text


def test_markdown_is_not_converted_to_json(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"), "--format", "md")
    queue._put(queue.accepted[0].output, b"# first")

    json_ = chandra("async", "fetch", "--format", "json")
    md = chandra("async", "fetch")

    assert json_.status == 1
    assert "cannot be converted to json" in json_.out
    assert md.status == 0
    assert (folder / "a.pdf.md").read_text() == "# first"


def test_results_of_bucket_are_written_to_s3(chandra, queue, wire):
    put(wire, "scans", "2026/a.pdf", b"first")
    put(wire, "scans", "2026/deep/b.png", b"second")
    chandra("async", "submit", "s3://scans/2026/")
    queue.read()

    beside = chandra("async", "fetch")
    into = chandra("async", "fetch", "--into", "s3://others/read")
    again = chandra("async", "submit", "s3://scans/2026/", "--json")

    assert beside.status == into.status == 0, beside.err + into.err
    assert get(wire, "scans", "2026/a.pdf.md") == b"# first\n"
    assert get(wire, "others", "read/deep/b.png.md") == b"# second\n"
    assert again.json["known"] == 2
    assert again.json["refused"] == {}


def test_into_folder_keeps_names(chandra, queue, folder, tmp_path):
    chandra("async", "submit", str(folder))
    queue.read()

    chandra("async", "fetch", "--into", str(tmp_path / "out"))

    names = sorted(
        str(p.relative_to(tmp_path / "out"))
        for p in (tmp_path / "out").rglob("*")
        if p.is_file()
    )
    assert names == ["2026/b.png.md", "a.pdf.md", "c.pdf.error.json"]


def test_foreign_file_is_overwritten_only_by_force(chandra, queue, folder):
    (folder / "a.pdf.md").write_text("my notes")
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.read()

    kept = chandra("async", "fetch")
    there = (folder / "a.pdf.md").read_text()
    forced = chandra("async", "fetch", "--force")

    assert kept.status == 1
    assert "not ours: " in kept.out
    assert there == "my notes"
    assert forced.status == 0
    assert (folder / "a.pdf.md").read_text() == "# first\n"


def test_foreign_object_is_overwritten_only_by_force(chandra, queue, wire):
    put(wire, "scans", "a.pdf", b"first")
    put(wire, "scans", "a.pdf.md", b"my notes")
    chandra("async", "submit", "s3://scans/a.pdf")
    queue.read()

    kept = chandra("async", "fetch")
    there = get(wire, "scans", "a.pdf.md")
    chandra("async", "fetch", "--force")

    assert kept.status == 1
    assert there == b"my notes"
    assert get(wire, "scans", "a.pdf.md") == b"# first\n"


def test_second_fetch_writes_nothing(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.read()
    chandra("async", "fetch")
    before = (folder / "a.pdf.md").stat().st_mtime_ns

    again = chandra("async", "fetch")

    assert "wrote 0 results; 1 were there already" in again.out
    assert (folder / "a.pdf.md").stat().st_mtime_ns == before


def test_modified_result_is_kept(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.read()
    chandra("async", "fetch")
    (folder / "a.pdf.md").write_text("# corrected")

    again = chandra("async", "fetch")

    assert again.status == 1
    assert (folder / "a.pdf.md").read_text() == "# corrected"


def test_error_file_is_removed_after_success(chandra, queue, folder):
    (folder / "c.pdf").write_bytes(PDF + DYING)
    chandra("async", "submit", str(folder / "c.pdf"))
    queue.read()
    chandra("async", "fetch")
    assert (folder / "c.pdf.error.json").exists()
    chandra("async", "submit", "--retry-failed")
    queue._put(queue.waiting.pop().output, answer_to(b"at last"))

    chandra("async", "fetch")

    assert (folder / "c.pdf.md").read_text() == "# at last\n"
    assert not (folder / "c.pdf.error.json").exists()


def test_failed_pages_are_written_to_error_file(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue._put(queue.accepted[0].output, answer_to(b"first", failed=(2,)))

    ran = chandra("async", "fetch")

    assert ran.status == 0
    assert (folder / "a.pdf.md").exists()
    (page,) = json.loads((folder / "a.pdf.error.json").read_text())["pages"]
    assert page == {"page": 2, "code": "out_of_memory", "detail": "too large"}


def test_parts_of_document_have_different_results(chandra, queue, wire):
    put(wire, "scans", "a.pdf", b"first")
    for pages in ("1-5", "6-9"):
        chandra("async", "submit", "s3://scans/a.pdf", "--pages", pages)
    queue.read()

    ran = chandra("async", "fetch")

    assert ran.status == 0, ran.out
    assert get(wire, "scans", "a.pages-1-5.pdf.md") == b"# first\n"
    assert get(wire, "scans", "a.pages-6-9.pdf.md") == b"# first\n"


def test_deleted_result_is_gone_and_can_be_retried(
    chandra, queue, folder, wire, ledger
):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.read()
    chandra("async", "wait")
    bucket, key = queue.accepted[0].output[5:].split("/", 1)
    wire.call("s3", "delete_object", Bucket=bucket, Key=key)

    gone = chandra("async", "fetch")
    chandra("async", "submit", "--retry-failed")
    queue.read()
    fetched = chandra("async", "fetch")

    assert gone.status == 1
    assert "gone: " in gone.out
    assert fetched.status == 0, fetched.out
    assert (folder / "a.pdf.md").read_text() == "# first\n"


def test_dry_run_writes_nothing(chandra, queue, folder):
    chandra("async", "submit", str(folder))
    queue.read()
    chandra("async", "wait")

    ran = chandra("async", "fetch", "--dry-run")

    assert ran.status == 0
    assert "would write 2 results" in ran.out
    assert not list(folder.rglob("*.md"))


@pytest.mark.parametrize("command", ["wait", "fetch"])
def test_missing_ledger_is_an_error(chandra, queue, command):
    ran = chandra("async", command)

    assert ran.status == 4
    assert "there is no ledger" in ran.err


def test_many_page_ranges_give_short_name(chandra, queue, folder):
    pages = ",".join(map(str, range(1, 300, 2)))
    chandra("async", "submit", str(folder / "a.pdf"), "--pages", pages)
    queue.read()

    ran = chandra("async", "fetch")

    assert ran.status == 0, ran.out
    (result,) = folder.glob("a.pages-*.pdf.md")
    assert result.name.startswith("a.pages-1,3,5,")
    assert len(result.name) < 100
