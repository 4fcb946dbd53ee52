"""What decoders say when they fail, turned into one error of ours.

The only place where it happens: Pillow and pdfium raise a dozen unrelated kinds
of exception on damaged files, and their messages name paths and C structures. They
are told only where they name a feature that a decoder does not have.
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
_OURS = __name__.partition(".")[0]
_FEATURE = re.compile(r"(?i)unsupported|not supported|cannot handle|unknown \w+ mode")
"""What decoders say of sound files that they cannot read."""


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
        is_told = _is_ours(error) or _FEATURE.search(words)
        if is_told and words and words.isprintable():
            return words[:_MAX_REASON_CHARACTERS]
        return "its image data are damaged or end early"
    return "its data are damaged"


def _is_ours(error: Exception) -> bool:
    """Return whether code of this package raised an error, not a decoder."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return False
    module = str(place.tb_frame.f_globals.get("__name__"))
    return module.partition(".")[0] == _OURS
