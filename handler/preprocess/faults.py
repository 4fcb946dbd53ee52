"""What decoders say when they fail, turned into one error of ours.

The only place where it happens: Pillow and pdfium raise a dozen unrelated kinds
of exception on damaged files, and their messages name paths and C structures.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import UnidentifiedImageError

from handler.errors import (
    DocumentTooLargeError,
    HandlerError,
    UnreadableDocumentError,
)

__all__ = ["reading"]

_MAX_REASON_CHARACTERS = 200
# Pillow gives libtiff's failures, and others for which it has no words, as numbers.
_ERROR_NUMBER = re.compile(r"(decoder|encoder) error -?\d+")
_ERROR_WORDS = frozenset(
    {
        "unrecognized data stream contents when reading image file",
        "codec configuration error when reading image file",
        "image buffer overrun error when reading image file",
    }
)


@contextmanager
def reading(subject: str) -> Iterator[None]:
    """Whatever fails in here means that `subject`, such as "page 3", is unreadable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except HandlerError:
        raise
    except MemoryError as error:
        raise DocumentTooLargeError(
            f"{subject} needs too much memory on this machine; send it smaller, or use "
            "a machine with more memory"
        ) from error
    # Any exception: a decoder that meets a stranger's bytes promises no list.
    except Exception as error:
        raise UnreadableDocumentError(
            f"{subject} cannot be read: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its header is damaged"
    # The others speak to programmers: KeyError(18), "unpack requires 4 bytes".
    if isinstance(error, (OSError, SyntaxError, NotImplementedError, EOFError)):
        words = " ".join(str(error).split())
        if _ERROR_NUMBER.match(words) or words in _ERROR_WORDS:
            return "its image data are damaged or end early"
        if words and words.isprintable():
            return words[:_MAX_REASON_CHARACTERS]
    return "its data are damaged"
