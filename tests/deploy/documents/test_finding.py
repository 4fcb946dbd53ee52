"""Search for documents in files, folders, prefixes and manifests."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from deploy.documents.finding import find_documents, find_refused_again
from deploy.documents.objects import S3Objects
from deploy.errors import ConfigError, CredentialsError, NotFoundError
from deploy.results.pages import num_pages_of
from tests.deploy.contents import PDF, PNG, beginning
from tests.deploy.weights.fake_s3 import FakeS3
from tests.documents import pdf


@pytest.fixture
def folder(tmp_path):
    """Return a folder with two documents, one in a subfolder, and another file."""
    root = tmp_path / "scans"
    (root / "2024").mkdir(parents=True)
    (root / ".cache").mkdir()
    (root / "a.pdf").write_bytes(b"%PDF-a")
    (root / "2024" / "b.PNG").write_bytes(PNG + b"b")
    (root / "notes.docx").write_bytes(b"words")
    (root / ".cache" / "c.pdf").write_bytes(b"%PDF-c")
    return root


def find(*inputs, objects=None, **keywords):
    """Find documents, by default in an empty S3."""
    return find_documents([str(i) for i in inputs], objects or FakeS3(), **keywords)


def get_names(result):
    return [document.name for document in result.documents]


def write_manifest(path, *entries):
    """Write one line for each entry; return the path."""
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    return path


def test_folder_is_searched_and_refusals_reported(folder):
    result = find(folder)

    assert get_names(result) == ["2024/b.PNG", "a.pdf"]
    assert [d.media_type for d in result.documents] == ["image/png", "application/pdf"]
    assert [(r.source, r.reason) for r in result.refused] == [
        (str(folder / "notes.docx"), "not a type we read: .docx")
    ]


def test_unfollowed_links_are_reported(folder):
    (folder / "2023").symlink_to(folder / "2024")
    (folder / "gone.pdf").symlink_to(folder / "nowhere.pdf")

    result = find(folder)

    assert [(Path(r.source).name, r.reason) for r in result.refused] == [
        ("2023", "a link to a folder, which is not followed"),
        ("gone.pdf", "a link to a file that is not there"),
        ("notes.docx", "not a type we read: .docx"),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_unreadable_folder_is_reported(folder):
    (folder / "2024").chmod(0)

    result = find(folder)

    (folder / "2024").chmod(0o700)
    reason = "a folder that cannot be read: Permission denied"
    assert (str(folder / "2024"), reason) in [
        (r.source, r.reason) for r in result.refused
    ]


def test_too_long_name_fails_only_its_own_line(folder):
    path = write_manifest(
        folder / "wanted.jsonl", {"document": "x" * 300}, {"document": "a.pdf"}
    )

    result = find(path)

    assert get_names(result) == ["a.pdf"]
    assert [r.reason for r in result.refused] == ["cannot be read: File name too long"]


def test_too_long_input_name_is_not_found():
    with pytest.raises(NotFoundError, match="cannot be read: File name too long"):
        find("x" * 300)


def test_folder_without_documents_is_reported(folder, tmp_path):
    (tmp_path / "empty").mkdir()

    result = find(folder, tmp_path / "empty")

    assert len(result.documents) == 2
    assert result.empty == (str(tmp_path / "empty"),)


def test_unstorable_name_is_changed(tmp_path):
    for name in (b"no\xfftext.pdf", b"two\nlines.pdf"):
        (tmp_path / os.fsdecode(name)).write_bytes(PDF)

    result = find(tmp_path)

    assert get_names(result) == ["no\ufffdtext.pdf", "two\ufffdlines.pdf"]
    # They are read and their results lie beside them under the names they have.
    assert [d.source for d in result.documents] == [
        str(tmp_path / os.fsdecode(name))
        for name in (b"no\xfftext.pdf", b"two\nlines.pdf")
    ]


def test_named_file_of_other_type_is_refused(folder):
    result = find(folder / "notes.docx")

    assert not result.documents
    (refused,) = result.refused
    assert refused.code == "unsupported_media_type"
    assert "its bytes are not a supported document: PDF, PNG" in refused.reason


def test_results_beside_documents_are_not_found(folder):
    for end in ("md", "html", "json", "error.json"):
        (folder / f"a.pdf.{end}").write_text("ours")

    result = find(folder)

    assert get_names(result) == ["2024/b.PNG", "a.pdf"]
    assert len(result.refused) == 1


def test_empty_file_is_refused(folder):
    (folder / "a.pdf").write_bytes(b"")

    result = find(folder)

    assert get_names(result) == ["2024/b.PNG"]
    assert (str(folder / "a.pdf"), "it is empty") in [
        (r.source, r.reason) for r in result.refused
    ]


def test_key_depends_on_contents_options_and_format(folder, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "moved")
    keys = {d.name: d.key for d in find(folder).documents}

    assert {d.name: d.key for d in find(moved).documents} == keys
    for changes in ({"options": {"pages": "1"}}, {"accept": "text/markdown"}):
        assert not {d.key for d in find(folder, **changes).documents} & {*keys.values()}
    (folder / "a.pdf").write_bytes(b"%PDF-other")
    assert {d.name: d.key for d in find(folder).documents}["a.pdf"] != keys["a.pdf"]


def test_place_does_not_depend_on_contents(folder):
    (before,) = find(folder / "a.pdf").documents
    (folder / "a.pdf").write_bytes(b"%PDF-other")
    (after,) = find(folder / "a.pdf").documents

    assert before.place_id == after.place_id
    assert before.key != after.key


def test_document_named_twice_is_found_once(folder):
    assert get_names(find(folder, folder / "a.pdf", folder)) == ["2024/b.PNG", "a.pdf"]


def test_equal_names_become_distinct(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.pdf").write_bytes(b"%PDF-another")

    result = find(folder / "a.pdf", other / "a.pdf")

    assert len(set(get_names(result))) == 2
    assert all(n.startswith("a~") and n.endswith(".pdf") for n in get_names(result))


@pytest.mark.parametrize("prefix", ["s3://in/scans", "s3://in/scans/"])
def test_prefix_matches_whole_folder_names(prefix):
    bucket = FakeS3(
        {
            "s3://in/scans/a.pdf": PDF,
            "s3://in/scans/2024/b.png": PNG,
            "s3://in/scans/": b"",
            "s3://in/scans/c.docx": b"c",
            "s3://in/scans-old/d.pdf": PDF,
        }
    )

    result = find(prefix, objects=bucket)

    assert get_names(result) == ["2024/b.png", "a.pdf"]
    assert [r.source for r in result.refused] == ["s3://in/scans/c.docx"]
    assert [d.num_pages for d in result.documents] == [1, None]
    assert result.num_pages is None


def test_another_etag_is_another_document():
    bucket = FakeS3({"s3://in/a.pdf": PDF})
    (before,) = find("s3://in/a.pdf", objects=bucket).documents
    bucket.contents["s3://in/a.pdf"] = PDF + b"b"
    (after,) = find("s3://in/a.pdf", objects=bucket).documents

    assert before.is_in_s3
    assert before.source == "s3://in/a.pdf"
    assert before.key != after.key


@pytest.mark.parametrize("key", ["scans/../../etc/a.pdf", "scans/x/../../../b.pdf"])
def test_key_outside_folder_is_refused(key):
    result = find("s3://in/scans", objects=FakeS3({f"s3://in/{key}": PDF}))

    assert not result.documents
    assert "is not a valid file name" in result.refused[0].reason


def test_manifest_names_documents_and_options(folder, tmp_path):
    bucket = FakeS3({"s3://in/big.pdf": PDF})
    path = write_manifest(
        tmp_path / "wanted.jsonl",
        {"document": "s3://in/big.pdf", "pages": "1-5"},
        {"document": "s3://in/big.pdf", "pages": "6-", "prompt_type": "ocr"},
        {"document": "scans/a.pdf", "name": "first.pdf"},
        {"document": "s3://in/gone.pdf"},
        {"document": "gone.pdf"},
    )

    result = find(path, objects=bucket, options={"prompt_type": "ocr_layout"})

    assert get_names(result) == ["big.pages-1-5.pdf", "big.pages-6-.pdf", "first.pdf"]
    assert result.documents[0].options == {"prompt_type": "ocr_layout", "pages": "1-5"}
    assert result.documents[1].options == {"prompt_type": "ocr", "pages": "6-"}
    assert [d.num_pages for d in result.documents] == [5, None, None]
    assert [str(refused) for refused in result.refused] == [
        "s3://in/gone.pdf: there is no such object (document_not_found)",
        f"{tmp_path}/gone.pdf: there is no such file (document_not_found)",
    ]


def test_manifest_may_be_in_s3():
    line = json.dumps({"document": "s3://in/a.pdf"}).encode()
    bucket = FakeS3({"s3://in/wanted.jsonl": line, "s3://in/a.pdf": PDF})

    assert get_names(find("s3://in/wanted.jsonl", objects=bucket)) == ["a.pdf"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2 is not JSON"),
        ("[]", "must be an object that names a document"),
        ("[" * 100_000, "line 2 is not JSON"),
        ('{"document": "a.pdf", "document": "b.pdf"}', "has 'document' more than once"),
        (
            '{"document": "a.pdf", "pages": 1, "name": "a", "pages": 1, "name": "b"}',
            "line 2 has 'pages' and 'name' more than once",
        ),
        ('{"pages": "1"}', 'a line is like {"document": "s3://bucket/scan.pdf"'),
        ('{"document": "a.pdf", "page": "1"}', "did you mean pages?"),
        ('{"document": "a.pdf", "pages": "one"}', "pages look like 1-3,7,9-"),
        ('{"document": "a.pdf", "pages": true}', "pages look like 1-3,7,9-"),
        ('{"document": "a.pdf", "name": "../../x"}', "name must be a relative path"),
        ('{"document": "a.pdf", "name": "/etc/x"}', "name must be a relative path"),
        ('{"document": "s3:///a.pdf"}', "must be s3://bucket/key"),
        ('{"document": "s3://in"}', "s3://in is a bucket, not an object"),
        ('{"document": "s3://in/"}', "s3://in/ is a bucket, not an object"),
        ('{"document": "a.pdf", "deadline_seconds": [1]}', "must be text or a number"),
    ],
    ids=lambda value: value[:60],
)
def test_invalid_line_is_reported(tmp_path, line, words):
    path = tmp_path / "wanted.jsonl"
    path.write_text(f'{{"document": "s3://in/a.pdf"}}\n{line}\n')

    with pytest.raises(ConfigError) as caught:
        find(path)

    assert words in f"{caught.value.message}; {caught.value.hint}"


def test_equal_lines_are_one_document(tmp_path):
    (tmp_path / "a.pdf").write_bytes(PDF)
    path = write_manifest(
        tmp_path / "wanted.jsonl",
        {"document": "a.pdf", "pages": 1, "include_images": "yes"},
        {"document": "a.pdf", "pages": "01", "include_images": True},
        {"document": "a.pdf", "pages": "1-1", "include_images": "1"},
    )

    assert get_names(find(path)) == ["a.pages-1.pdf"]


def test_all_invalid_lines_are_reported_together(tmp_path):
    path = tmp_path / "wanted.jsonl"
    path.write_text('{"document": "a.pdf"}\n{\n{"page": 1}\n[]\n')

    with pytest.raises(
        ConfigError, match=r"line 2 is not JSON.*line 3 must.*line 4 must"
    ):
        find(path)


def test_refused_document_is_found_again_under_its_name(tmp_path):
    bucket = FakeS3({"s3://in/b.pdf": b""})
    path = write_manifest(
        tmp_path / "wanted.jsonl",
        {"document": "a.pdf", "name": "first.pdf", "pages": "1-2"},
        {"document": "s3://in/b.pdf"},
        {"document": "s3://in/c.pdf"},
    )
    refused = find(path, objects=bucket).refused
    (tmp_path / "a.pdf").write_bytes(PDF)
    bucket.contents["s3://in/b.pdf"] = PDF

    result = find_refused_again(refused, bucket)

    assert [refusal.code for refusal in refused] == [
        "document_not_found", "unreadable_document", "document_not_found"
    ]  # fmt: skip
    assert get_names(result) == ["first.pages-1-2.pdf", "b.pdf"]
    assert [refusal.source for refusal in result.refused] == ["s3://in/c.pdf"]
    places = {document.place_id for document in result.documents}
    places |= {refusal.place_id for refusal in result.refused}
    assert places == {refusal.place_id for refusal in refused}


@pytest.mark.parametrize("named", ["gone.pdf", "s3://in/gone"])
def test_missing_input_is_not_found(named):
    with pytest.raises(NotFoundError, match="gone"):
        find(named)


def test_pages_of_local_files_are_counted(tmp_path):
    (tmp_path / "a.pdf").write_bytes(pdf([["one"], ["two"], ["three"]]))
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-broken")

    result = find(tmp_path, count=num_pages_of)
    with_ranges = find(tmp_path / "a.pdf", count=num_pages_of, options={"pages": "2-9"})

    assert [d.num_pages for d in result.documents] == [3, None]
    assert with_ranges.num_pages == 2


def test_objects_are_listed_and_read_from_s3(cloud, wire):
    wire.call("s3", "create_bucket", Bucket="documents")
    for key in ("scans/a.pdf", "scans/2024/b.png", "other.pdf"):
        wire.call("s3", "put_object", Bucket="documents", Key=key, Body=beginning(key))
    line = json.dumps({"document": "s3://documents/other.pdf", "pages": 2}).encode()
    wire.call("s3", "put_object", Bucket="documents", Key="wanted.jsonl", Body=line)
    objects = S3Objects(wire)

    in_prefix = find("s3://documents/scans", objects=objects)
    by_uri = find("s3://documents/scans/a.pdf", objects=objects)
    in_manifest = find("s3://documents/wanted.jsonl", objects=objects)

    assert get_names(in_prefix) == ["2024/b.png", "a.pdf"]
    assert by_uri.documents[0].key == in_prefix.documents[1].key
    assert get_names(in_manifest) == ["other.pages-2.pdf"]
    with pytest.raises(NotFoundError):
        find("s3://documents/gone", objects=objects)


class ExpiredClient:
    """Client whose login has expired."""

    def client(self, service):
        return self

    def call(self, service, operation, **params):
        raise CredentialsError("the credentials have expired", hint="aws sso login")


def test_expired_credentials_are_not_a_refusal(tmp_path):
    manifest = tmp_path / "wanted.jsonl"
    manifest.write_text(json.dumps({"document": "s3://documents/a.pdf"}))
    client: Any = ExpiredClient()

    with pytest.raises(CredentialsError):
        find(manifest, objects=S3Objects(client))
