"""Tests of encrypted PDFs and the option `password`."""

from __future__ import annotations

import pytest

from handler.errors import PasswordRequiredError, PasswordWrongError
from handler.preprocess import (
    DecodeOptions,
    Limits,
    crop_images,
    decode_page,
    inspect_document,
)
from tests.documents import LINES, pdf, spooled
from tests.handler.preprocess.reading import MINI, darkest_level

PDF = "application/pdf"
ENCRYPTED = pdf(password="secret")


def count_pages(content: bytes, password: str | None) -> int:
    with spooled(content) as document:
        return inspect_document(
            document, None, Limits(), DecodeOptions(password=password)
        ).num_pages


def test_password_opens_document_page_text_and_crops():
    options = DecodeOptions(password="secret")
    with spooled(ENCRYPTED) as document:
        page = decode_page(document, PDF, 1, MINI, Limits(), options)
        boxes = {"a": (0, 0, 50, 50)}
        crops = crop_images(document, PDF, 1, MINI, Limits(), boxes, options)

    assert count_pages(ENCRYPTED, "secret") == 1
    assert darkest_level(page, 0, 1) < 80
    assert page.text_layer.splitlines() == list(LINES)
    assert list(crops) == ["a"]


def test_missing_password_raises_password_required():
    with pytest.raises(PasswordRequiredError, match="send it in the option password"):
        count_pages(ENCRYPTED, None)


@pytest.mark.parametrize("password", ["", "wrong", "secret\0", "päss", "パス"])
def test_error_of_wrong_password_does_not_contain_it(password):
    with pytest.raises(PasswordWrongError) as caught:
        count_pages(ENCRYPTED, password)

    assert str(caught.value) == "the password does not open the PDF"


@pytest.mark.parametrize("content", [pdf(), pdf(owner_password="owner")])
def test_password_for_an_unencrypted_pdf_is_ignored(content):
    assert count_pages(content, "anything") == 1


def test_latin_1_password_opens_the_pdf():
    content = pdf(password="p\u00e4ss".encode("latin-1").decode("latin-1"))

    assert count_pages(content, "p\u00e4ss") == 1
