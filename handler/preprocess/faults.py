"""Translation of decoder exceptions into the handler's errors.

Pillow and pdfium raise a dozen unrelated exception types for damaged files, and their
messages contain paths and names of C structures. Such a message reaches the client
only if it names a feature that the decoder does not support.
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

__all__ = ["translate_errors"]

_MAX_REASON_CHARACTERS = 200
_PACKAGE = __name__.partition(".")[0]
_FEATURE = re.compile(r"(?i)unsupported|not supported|cannot handle|unknown \w+ mode")
"""Messages of decoders about intact files that use an unsupported feature."""


@contextmanager
def translate_errors(subject: str) -> Iterator[None]:
    """Translate any exception of the block into a HandlerError about `subject`.

    `subject` names what is read, such as "page 3". Raises DocumentTooLargeError if
    memory runs out and UnreadableDocumentError for other exceptions. A HandlerError
    passes unchanged. Python warnings are ignored within the block.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except HandlerError:
        raise
    except MemoryError as error:
        raise DocumentTooLargeError(
            f"{subject} needs too much memory on this machine; send it at a lower "
            "resolution, or use a machine with more memory"
        ) from error
    # Catch every exception: decoders do not document what they raise for bad input.
    except Exception as error:
        raise UnreadableDocumentError(
            f"{subject} cannot be read: {_describe_error(error)}"
        ) from error


def _describe_error(error: Exception) -> str:
    """Return the reason of an exception in words that are fit for a client."""
    if isinstance(error, UnidentifiedImageError):
        return "its header is damaged"
    # The messages of other types are of no use to a client: KeyError(18), or
    # "unpack requires 4 bytes".
    if isinstance(error, (OSError, SyntaxError, NotImplementedError, EOFError)):
        words = " ".join(str(error).split())
        is_fit_for_client = _is_raised_by_handler(error) or _FEATURE.search(words)
        if is_fit_for_client and words and words.isprintable():
            return words[:_MAX_REASON_CHARACTERS]
        return "its image data are damaged or end early"
    return "its data are damaged"


def _is_raised_by_handler(error: Exception) -> bool:
    """Return True if a module of `handler` raised the error, and not a decoder."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return False
    module = str(place.tb_frame.f_globals.get("__name__"))
    return module.partition(".")[0] == _PACKAGE
