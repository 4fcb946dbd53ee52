"""Pages rendered for reports."""

from __future__ import annotations

import io

import PIL.Image

from deploy.documents.document import media_type_by_name
from deploy.results.pages import render_pages
from tests import documents


def test_pdf_pages_are_rendered_except_missing_ones(tmp_path):
    path = tmp_path / "three.pdf"
    path.write_bytes(documents.pdf([["one"], ["two"], ["three"]]))

    pictures = render_pages(path, [1, 3, 9])

    assert pictures.keys() == {1, 3}
    assert max(PIL.Image.open(io.BytesIO(pictures[1])).size) == 1600


def test_picture_follows_exif_orientation(tmp_path):
    path = tmp_path / "turned.jpg"
    picture = PIL.Image.new("RGB", (200, 100))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)

    drawn = PIL.Image.open(io.BytesIO(render_pages(path, [1])[1]))

    assert drawn.size == (100, 200)


def test_transparent_picture_gets_white_background(tmp_path):
    path = tmp_path / "clear.png"
    PIL.Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(path)

    drawn = PIL.Image.open(io.BytesIO(render_pages(path, [1])[1]))

    assert drawn.getpixel((5, 5)) == (255, 255, 255)


def test_media_type_follows_file_name(tmp_path):
    assert media_type_by_name(tmp_path / "a.PDF") == "application/pdf"
    assert media_type_by_name(tmp_path / "a") == "application/octet-stream"
