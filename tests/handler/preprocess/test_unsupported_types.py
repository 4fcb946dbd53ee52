"""Tests of the descriptions of content that is not a document."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
from hypothesis import given, strategies as st

from handler.errors import UnsupportedMediaTypeError
from handler.preprocess import MEDIA_TYPES
from handler.preprocess.media import HEAD_BYTES, resolve_media_type
from handler.preprocess.unsupported_types import describe_bytes
from tests.documents import as_jpeg, as_png, pdf, text_page


def zip_archive(**entries: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


def office_file(part: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("[Content_Types].xml", "_rels/.rels", part):
            archive.writestr(name, b"<xml/>")
    return stream.getvalue()


def tar_archive() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return stream.getvalue()


ODT = b"application/vnd.oasis.opendocument.text"
PNG = as_png(text_page(size=(32, 32)))
SAMPLES = {
    "an HTML page": [
        b"<!DOCTYPE html>\n<html><body>Sign in</body></html>",
        b"\n\n<!doctype HTML PUBLIC ''><head>",
        b"<html>",
        b'<?xml version="1.0"?>\n<!-- x --><!DOCTYPE html><html>',
        "\ufeff<HTML lang='pl'>ł</HTML>".encode(),
        "<html>".encode("utf-16"),
    ],
    "XML": [b"<?xml version='1.0'?><rss/>", b"<note/>"],
    "an XML error message": [
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>',
    ],
    "an SVG drawing": [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<?xml version='1.0'?><!DOCTYPE svg PUBLIC 'x'>\n<svg>",
    ],
    "JSON": [b'{"message": "Forbidden"}', b"[1, 2]"],
    "plain text": [b"Dear Sir or Madam", "Zażółć".encode(), b"a,b\n1,2\n"],
    "base64 text": [
        base64.b64encode(PNG),
        base64.encodebytes(pdf()),
        base64.b64encode(as_jpeg(text_page(size=(32, 32)))),
    ],
    "a data: URL": [b"data:image/png;base64,iVBORw0KGgo="],
    "a form": [b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n'],
    "a Word document (DOCX)": [office_file("word/document.xml")],
    "an Excel workbook (XLSX)": [office_file("xl/workbook.xml")],
    "a PowerPoint presentation (PPTX)": [office_file("ppt/presentation.xml")],
    "an OpenDocument text (ODT)": [zip_archive(mimetype=ODT)],
    "an e-book (EPUB)": [zip_archive(mimetype=b"application/epub+zip")],
    "a ZIP archive": [zip_archive(scan=PNG), zip_archive(in__page=b"")],
    "an old Office or Outlook file": [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99)],
    "an RTF document": [rb"{\rtf1\ansi Hello}"],
    "PostScript": [b"%!PS-Adobe-3.0 EPSF-3.0\n"],
    "gzip data": [gzip.compress(b"a", mtime=0)],
    "bzip2 data": [bz2.compress(b"a")],
    "XZ data": [lzma.compress(b"a")],
    "a 7z archive": [b"7z\xbc\xaf\x27\x1c\0\4"],
    "a RAR archive": [b"Rar!\x1a\x07\x01\0"],
    "a TAR archive": [tar_archive()],
    "an MP4 video": [b"\0\0\0\x18ftypisom\0\0\2\0", b"\0\0\0\x14ftypqt  "],
    "an AVI video": [b"RIFF\0\0\0\0AVI LIST"],
    "a Photoshop file": [b"8BPS\0\1"],
    "only zeros": [b"", bytes(500)],
    "only whitespace": [b" \r\n"],
}


@pytest.mark.parametrize(
    ("kind", "content"),
    [(kind, content) for kind, contents in SAMPLES.items() for content in contents],
)
def test_content_is_described(kind, content):
    assert str(describe_bytes(content[:HEAD_BYTES])).startswith(kind)


@pytest.mark.parametrize("content", [b"\x81\x82\x83", b"\x00\x01abc", b"\xff" * 20])
def test_unknown_content_has_no_description(content):
    assert describe_bytes(content) is None


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_description_of_any_content_is_short_or_none(head):
    assert len(describe_bytes(head) or "") < 80


def test_text_truncated_within_a_character_is_text():
    assert describe_bytes(("ł" * 600).encode()[: HEAD_BYTES - 1]) == "plain text"


def test_error_describes_content_of_wrong_declared_type():
    page = b"<!DOCTYPE html><html><body>Sign in</body></html>"

    with pytest.raises(
        UnsupportedMediaTypeError, match=r"declared as application/pdf, .* an HTML page"
    ):
        resolve_media_type("application/pdf", page)


def test_error_describes_content_and_lists_supported_types():
    with pytest.raises(UnsupportedMediaTypeError) as caught:
        resolve_media_type(None, office_file("word/document.xml"))

    assert "the document is a Word document (DOCX)" in caught.value.detail
    assert all(media_type in caught.value.detail for media_type in MEDIA_TYPES)
