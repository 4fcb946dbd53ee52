"""Opening of a PDF with pdfium: passwords, missing headers and errors."""

from __future__ import annotations

import ctypes
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from mmap import mmap

import pypdfium2
import pypdfium2.raw as pdfium

from handler.errors import (
    PasswordRequiredError,
    PasswordWrongError,
    UnreadableDocumentError,
)

__all__ = ["open_pdf"]

_HEADER = b"%PDF-1.7\n"
# pdfium searches this many bytes for the header.
_HEADER_BYTES = 1024

_REASONS = {
    pdfium.FPDF_ERR_SECURITY: "it is encrypted in a way that is not supported",
    pdfium.FPDF_ERR_FORMAT: "it is damaged, or ends early",
}


@contextmanager
def open_pdf(
    data: mmap, password: str | None = None
) -> Iterator[pypdfium2.PdfDocument]:
    """Open the PDF in `data` and close it at the end of the context.

    The password is ignored if the PDF opens without one. Raises PasswordRequiredError,
    PasswordWrongError, and UnreadableDocumentError for a PDF that is damaged, has an
    unsupported encryption or has no pages.
    """
    # Open from memory, not by path: pypdfium2 resolves /proc/<pid>/fd to a file name
    # that no longer exists.
    memory = (ctypes.c_char * len(data)).from_buffer(data)
    if _HEADER[:5] not in data[:_HEADER_BYTES]:
        memory = _prepend_header(data)
    # PdfDocument(memory) is not used: for a PDF without pages it reports the error of
    # the previous document, such as a missing password.
    document = pypdfium2.PdfDocument(_load_document(memory, password))
    try:
        if len(document) == 0:
            raise UnreadableDocumentError("the PDF has no pages")
        yield document
    finally:
        document.close()


def _load_document(memory: ctypes.Array[ctypes.c_char], password: str | None) -> object:
    """Return pdfium's handle of a document, using the password if it needs one.

    Raises the errors of `open_pdf`.
    """
    raw, error = _try_password(memory, None)
    if not raw and error == pdfium.FPDF_ERR_PASSWORD:
        if password is None:
            raise PasswordRequiredError(
                "the PDF is encrypted and needs a password: send it in the option "
                "password"
            )
        for encoded in _encode_password(password):
            raw, error = _try_password(memory, encoded)
            if raw or error != pdfium.FPDF_ERR_PASSWORD:
                break
        else:
            raise PasswordWrongError("the password does not open the PDF")
    if not raw:
        reason = _REASONS.get(error, "pdfium cannot open it")
        raise UnreadableDocumentError(f"the PDF cannot be read: {reason}")
    return raw


def _try_password(
    memory: ctypes.Array[ctypes.c_char], password: bytes | None
) -> tuple[object, int]:
    """Return pdfium's handle of the document, null if it fails, and its error code."""
    raw = pdfium.FPDF_LoadMemDocument64(memory, len(memory), password)
    return raw, 0 if raw else pdfium.FPDF_GetLastError()


def _encode_password(password: str) -> list[bytes]:
    """Return the possible encodings of a password.

    Revisions 5 and 6 of the encryption use normalized UTF-8. Older revisions use a code
    page, usually Latin-1. pdfium ends a password at a zero byte, so a password with
    one has no encoding.
    """
    if "\0" in password:
        return []
    candidates = [password.encode("utf-8", "replace")]
    candidates.append(
        unicodedata.normalize("NFKC", password).encode("utf-8", "replace")
    )
    with suppress(UnicodeEncodeError):
        candidates.append(password.encode("latin-1"))
    return list(dict.fromkeys(candidates))


def _prepend_header(data: mmap) -> ctypes.Array[ctypes.c_char]:
    """Return a copy of a PDF with a prepended header, which pdfium requires.

    The offsets of objects are then wrong, so pdfium rebuilds the cross-reference table.
    """
    memory = (ctypes.c_char * (len(_HEADER) + len(data)))()
    ctypes.memmove(memory, _HEADER, len(_HEADER))
    source = (ctypes.c_char * len(data)).from_buffer(data)
    ctypes.memmove(ctypes.byref(memory, len(_HEADER)), source, len(data))
    return memory
