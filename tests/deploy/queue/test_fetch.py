"""Results of a queue, written beside their documents."""

from __future__ import annotations

import json

import pytest

from tests.deploy.contents import PDF
from tests.deploy.queue.queued import (
    DYING,
    build_result,
    get_object,
    put_object,
)


def test_results_are_written_beside_documents(chandra, queue, folder):
    chandra("async", "submit", str(folder))
    queue.process_waiting()

    result = chandra("async", "fetch")

    assert result.status == 1
    assert (folder / "a.pdf.md").read_text() == "# first\n"
    assert (folder / "2026" / "b.png.md").read_text() == "# second\n"
    error = json.loads((folder / "c.pdf.error.json").read_text())
    assert error["code"] == "unreadable_document"
    assert error["document"] == str(folder / "c.pdf")
    assert "failed: " in result.out


@pytest.mark.parametrize("format_name", ["md", "html", "json"])
def test_json_is_converted_to_every_format(chandra, queue, folder, format_name):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.process_waiting()

    result = chandra("async", "fetch", "--format", format_name)

    text = (folder / f"a.pdf.{format_name}").read_text()
    assert result.status == 0, result.err
    assert {"md": "# first", "html": "<p>first 2</p>", "json": '"pages"'}[
        format_name
    ] in text


def test_markdown_is_not_converted_to_json(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"), "--format", "md")
    queue.write(queue.accepted[0].output, b"# first")

    json_ = chandra("async", "fetch", "--format", "json")
    md = chandra("async", "fetch")

    assert json_.status == 1
    assert "cannot be converted to json" in json_.out
    assert md.status == 0
    assert (folder / "a.pdf.md").read_text() == "# first"


def test_results_of_bucket_are_written_to_s3(chandra, queue, wire):
    put_object(wire, "scans", "2026/a.pdf", b"first")
    put_object(wire, "scans", "2026/deep/b.png", b"second")
    chandra("async", "submit", "s3://scans/2026/")
    queue.process_waiting()

    beside_result = chandra("async", "fetch")
    into_result = chandra("async", "fetch", "--into", "s3://others/read")
    second_result = chandra("async", "submit", "s3://scans/2026/", "--json")

    assert beside_result.status == into_result.status == 0, (
        beside_result.err + into_result.err
    )
    assert get_object(wire, "scans", "2026/a.pdf.md") == b"# first\n"
    assert get_object(wire, "others", "read/deep/b.png.md") == b"# second\n"
    assert second_result.json["known"] == 2
    assert second_result.json["refused"] == {}


def test_into_folder_keeps_names(chandra, queue, folder, tmp_path):
    chandra("async", "submit", str(folder))
    queue.process_waiting()

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
    queue.process_waiting()

    unforced = chandra("async", "fetch")
    unforced_text = (folder / "a.pdf.md").read_text()
    forced_result = chandra("async", "fetch", "--force")

    assert unforced.status == 1
    assert "not ours: " in unforced.out
    assert unforced_text == "my notes"
    assert forced_result.status == 0
    assert (folder / "a.pdf.md").read_text() == "# first\n"


def test_foreign_object_is_overwritten_only_by_force(chandra, queue, wire):
    put_object(wire, "scans", "a.pdf", b"first")
    put_object(wire, "scans", "a.pdf.md", b"my notes")
    chandra("async", "submit", "s3://scans/a.pdf")
    queue.process_waiting()

    unforced = chandra("async", "fetch")
    unforced_content = get_object(wire, "scans", "a.pdf.md")
    chandra("async", "fetch", "--force")

    assert unforced.status == 1
    assert unforced_content == b"my notes"
    assert get_object(wire, "scans", "a.pdf.md") == b"# first\n"


def test_second_fetch_writes_nothing(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.process_waiting()
    chandra("async", "fetch")
    before = (folder / "a.pdf.md").stat().st_mtime_ns

    second_result = chandra("async", "fetch")

    assert "wrote 0 results; 1 were there already" in second_result.out
    assert (folder / "a.pdf.md").stat().st_mtime_ns == before


def test_modified_result_is_kept(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.process_waiting()
    chandra("async", "fetch")
    (folder / "a.pdf.md").write_text("# corrected")

    second_result = chandra("async", "fetch")

    assert second_result.status == 1
    assert (folder / "a.pdf.md").read_text() == "# corrected"


def test_error_file_is_removed_after_success(chandra, queue, folder):
    (folder / "c.pdf").write_bytes(PDF + DYING)
    chandra("async", "submit", str(folder / "c.pdf"))
    queue.process_waiting()
    chandra("async", "fetch")
    assert (folder / "c.pdf.error.json").exists()
    chandra("async", "submit", "--retry-failed")
    queue.write(queue.waiting.pop().output, build_result(b"at last"))

    chandra("async", "fetch")

    assert (folder / "c.pdf.md").read_text() == "# at last\n"
    assert not (folder / "c.pdf.error.json").exists()


def test_failed_pages_are_written_to_error_file(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.write(queue.accepted[0].output, build_result(b"first", failed=(2,)))

    result = chandra("async", "fetch")

    assert result.status == 0
    assert (folder / "a.pdf.md").exists()
    (page,) = json.loads((folder / "a.pdf.error.json").read_text())["pages"]
    assert page == {"page": 2, "code": "out_of_memory", "detail": "too large"}


def test_parts_of_document_have_different_results(chandra, queue, wire):
    put_object(wire, "scans", "a.pdf", b"first")
    for pages in ("1-5", "6-9"):
        chandra("async", "submit", "s3://scans/a.pdf", "--pages", pages)
    queue.process_waiting()

    result = chandra("async", "fetch")

    assert result.status == 0, result.out
    assert get_object(wire, "scans", "a.pages-1-5.pdf.md") == b"# first\n"
    assert get_object(wire, "scans", "a.pages-6-9.pdf.md") == b"# first\n"


def test_deleted_result_is_gone_and_can_be_retried(
    chandra, queue, folder, wire, ledger
):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.process_waiting()
    chandra("async", "wait")
    bucket, key = queue.accepted[0].output[5:].split("/", 1)
    wire.call("s3", "delete_object", Bucket=bucket, Key=key)

    gone_result = chandra("async", "fetch")
    chandra("async", "submit", "--retry-failed")
    queue.process_waiting()
    fetch_result = chandra("async", "fetch")

    assert gone_result.status == 1
    assert "gone: " in gone_result.out
    assert fetch_result.status == 0, fetch_result.out
    assert (folder / "a.pdf.md").read_text() == "# first\n"


def test_dry_run_writes_nothing(chandra, queue, folder):
    chandra("async", "submit", str(folder))
    queue.process_waiting()
    chandra("async", "wait")

    result = chandra("async", "fetch", "--dry-run")

    assert result.status == 0
    assert "would write 2 results" in result.out
    assert not list(folder.rglob("*.md"))


@pytest.mark.parametrize("command", ["wait", "fetch"])
def test_missing_ledger_is_an_error(chandra, queue, command):
    result = chandra("async", command)

    assert result.status == 4
    assert "there is no ledger" in result.err


def test_many_page_ranges_give_short_name(chandra, queue, folder):
    pages = ",".join(map(str, range(1, 300, 2)))
    chandra("async", "submit", str(folder / "a.pdf"), "--pages", pages)
    queue.process_waiting()

    command = chandra("async", "fetch")

    assert command.status == 0, command.out
    (result,) = folder.glob("a.pages-*.pdf.md")
    assert result.name.startswith("a.pages-1,3,5,")
    assert len(result.name) < 100
