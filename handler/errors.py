"""What can go wrong while serving, and what each mistake is called.

HandlerError                       500  internal
├── RequestError                   400  bad_request
│   ├── NotAcceptableError         406  not_acceptable
│   ├── DocumentTooLargeError      413  document_too_large
│   ├── UnsupportedMediaTypeError  415  unsupported_media_type
│   ├── DocumentForbiddenError     403  document_forbidden
│   ├── DocumentNotFoundError      404  document_not_found
│   ├── DocumentChangedError       409  document_changed
│   ├── ClientGoneError            499  client_gone
│   ├── InvalidOptionError         422  invalid_option
│   └── UnreadableDocumentError    422  unreadable_document
│       ├── PasswordRequiredError  422  password_required
│       └── PasswordWrongError     422  password_wrong
├── EngineError                    503  engine_unavailable
│   ├── OverloadedError            503  overloaded
│   ├── OutOfMemoryError           503  out_of_memory
│   ├── EngineFailedError          503  engine_failed
│   └── DeadlineExceededError      504  deadline_exceeded
├── StorageError                   503  storage_unavailable
└── ModelLoadError                 500  model_load_failed

Clients match `code`, people read the message. A request's errors become its
own reply; only `ModelLoadError` ever leaves the handler.
"""

from __future__ import annotations

__all__ = [
    "ClientGoneError",
    "DeadlineExceededError",
    "DocumentChangedError",
    "DocumentForbiddenError",
    "DocumentNotFoundError",
    "DocumentTooLargeError",
    "EngineError",
    "EngineFailedError",
    "HandlerError",
    "InvalidOptionError",
    "ModelLoadError",
    "NotAcceptableError",
    "OutOfMemoryError",
    "OverloadedError",
    "PasswordRequiredError",
    "PasswordWrongError",
    "RequestError",
    "StorageError",
    "UnreadableDocumentError",
    "UnsupportedMediaTypeError",
    "error_with_code",
]


class HandlerError(Exception):
    """Something failed here, and the caller can do nothing about it."""

    status = 500
    code = "internal"
    title = "Internal error"

    @property
    def detail(self) -> str:
        """What to tell the caller."""
        return str(self) or "something failed while reading the document"


class RequestError(HandlerError):
    """The request cannot be understood as it was sent."""

    status = 400
    code = "bad_request"
    title = "Bad request"


class NotAcceptableError(RequestError):
    """None of the formats in the Accept header is one we write."""

    status = 406
    code = "not_acceptable"
    title = "Not acceptable"


class DocumentTooLargeError(RequestError):
    """The document has more bytes, pages or pixels than the limit."""

    status = 413
    code = "document_too_large"
    title = "Document too large"


class UnsupportedMediaTypeError(RequestError):
    """The body is of a type we do not read, or not of the type it claims."""

    status = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"


class DocumentForbiddenError(RequestError):
    """The document lies where it may not be read."""

    status = 403
    code = "document_forbidden"
    title = "Document forbidden"


class DocumentNotFoundError(RequestError):
    """There is no document where it should be."""

    status = 404
    code = "document_not_found"
    title = "Document not found"


class DocumentChangedError(RequestError):
    """The document became another while it was read."""

    status = 409
    code = "document_changed"
    title = "Document changed"


class ClientGoneError(RequestError):
    """The client left before it was answered; only the log and the metrics say so."""

    status = 499
    code = "client_gone"
    title = "Client closed request"


class InvalidOptionError(RequestError):
    """An option is unknown, or its value makes no sense."""

    status = 422
    code = "invalid_option"
    title = "Invalid option"


class UnreadableDocumentError(RequestError):
    """The document is corrupt or empty, or encrypted in a way that is not supported."""

    status = 422
    code = "unreadable_document"
    title = "Unreadable document"


class PasswordRequiredError(UnreadableDocumentError):
    """The document is encrypted, and no password was sent."""

    code = "password_required"
    title = "Password required"


class PasswordWrongError(UnreadableDocumentError):
    """The document is encrypted, and the password does not open it."""

    code = "password_wrong"
    title = "Password wrong"


class EngineError(HandlerError):
    """The model cannot be reached just now."""

    status = 503
    code = "engine_unavailable"
    title = "Engine unavailable"


class OverloadedError(EngineError):
    """Too many pages are waiting already."""

    code = "overloaded"
    title = "Overloaded"


class OutOfMemoryError(EngineError):
    """The accelerator has no room for this page."""

    code = "out_of_memory"
    title = "Out of memory"


class EngineFailedError(EngineError):
    """The engine process died twice while it read this page."""

    code = "engine_failed"
    title = "Engine failed"


class DeadlineExceededError(EngineError):
    """The deadline came before the page was read."""

    status = 504
    code = "deadline_exceeded"
    title = "Deadline exceeded"


class StorageError(HandlerError):
    """S3 cannot be reached just now, or not from here."""

    status = 503
    code = "storage_unavailable"
    title = "Storage unavailable"


class ModelLoadError(HandlerError):
    """The model cannot be loaded; the message says what to change.

    `is_transient` means that a later start may succeed without any change.
    """

    code = "model_load_failed"
    title = "Model not loaded"

    def __init__(self, detail: str = "", *, is_transient: bool = False) -> None:
        super().__init__(detail)
        self.is_transient = is_transient


def error_with_code(code: str, detail: str) -> HandlerError:
    """The error that goes by `code`; a plain HandlerError where none does."""
    return next((c for c in _tree(HandlerError) if c.code == code), HandlerError)(
        detail
    )


def _tree(root: type[HandlerError]) -> list[type[HandlerError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]
