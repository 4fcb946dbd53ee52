"""Open a PDF with pdfium: its password, its missing header, what is wrong with it."""

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

__all__ = ["opened"]

_HEADER = b"%PDF-1.7\n"
# pdfium looks for the header in so many bytes.
_HEADER_BYTES = 1024

_REASONS = {
    pdfium.FPDF_ERR_SECURITY: "it is encrypted in a way that is not supported",
    pdfium.FPDF_ERR_FORMAT: "it is damaged, or ends early",
}


@contextmanager
def opened(data: mmap, password: str | None = None) -> Iterator[pypdfium2.PdfDocument]:
    """Open the PDF in `data`, for as long as the context lasts.

    A PDF that opens without a password ignores the one given. Raises
    PasswordRequiredError, PasswordWrongError and UnreadableDocumentError.
    """
    # Not by path: pypdfium2 resolves /proc/<pid>/fd to a name that is gone.
    memory = (ctypes.c_char * len(data)).from_buffer(data)
    if _HEADER[:5] not in data[:_HEADER_BYTES]:
        memory = _with_header(data)
    # Not by PdfDocument(memory), which asks pdfium for an error where there is
    # none, and so calls a PDF of no pages encrypted if the last one was.
    document = pypdfium2.PdfDocument(_load(memory, password))
    try:
        if len(document) == 0:
            raise UnreadableDocumentError("the PDF has no pages")
        yield document
    finally:
        document.close()


def _load(memory: ctypes.Array[ctypes.c_char], password: str | None) -> object:
    raw, error = _attempt(memory, None)
    if not raw and error == pdfium.FPDF_ERR_PASSWORD:
        if password is None:
            raise PasswordRequiredError(
                "the PDF is encrypted and needs a password: send it as the option "
                "password"
            )
        for encoded in _encodings(password):
            raw, error = _attempt(memory, encoded)
            if raw or error != pdfium.FPDF_ERR_PASSWORD:
                break
        else:
            raise PasswordWrongError("the password does not open the PDF")
    if not raw:
        reason = _REASONS.get(error, "pdfium cannot open it")
        raise UnreadableDocumentError(f"the PDF cannot be read: {reason}")
    return raw


def _attempt(
    memory: ctypes.Array[ctypes.c_char], password: bytes | None
) -> tuple[object, int]:
    raw = pdfium.FPDF_LoadMemDocument64(memory, len(memory), password)
    return raw, 0 if raw else pdfium.FPDF_GetLastError()


def _encodings(password: str) -> list[bytes]:
    """Return the bytes that a password may stand for.

    Revisions 5 and 6 of the encryption take UTF-8, normalized; older ones a code page,
    of which Latin-1 is the usual. pdfium ends a password at a zero byte.
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


def _with_header(data: mmap) -> ctypes.Array[ctypes.c_char]:
    """Copy a PDF without `%PDF-` behind a header, without which pdfium refuses it.

    Its offsets are off by the header's length, so pdfium rebuilds the table of objects.
    """
    memory = (ctypes.c_char * (len(_HEADER) + len(data)))()
    ctypes.memmove(memory, _HEADER, len(_HEADER))
    source = (ctypes.c_char * len(data)).from_buffer(data)
    ctypes.memmove(ctypes.byref(memory, len(_HEADER)), source, len(data))
    return memory
