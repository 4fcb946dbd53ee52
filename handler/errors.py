"""Exceptions of the service, with their HTTP status and their code.

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

Clients compare `code`; the message is for people. An error of a request becomes the
reply to that request. Only `ModelLoadError` leaves the handler.
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
    """Root of all errors; by itself, a failure that the caller cannot correct."""

    status = 500
    code = "internal"
    title = "Internal error"

    @property
    def detail(self) -> str:
        """Message for the caller."""
        return str(self) or "something failed while reading the document"


class RequestError(HandlerError):
    """Malformed request."""

    status = 400
    code = "bad_request"
    title = "Bad request"


class NotAcceptableError(RequestError):
    """The Accept header allows no media type that the service can write."""

    status = 406
    code = "not_acceptable"
    title = "Not acceptable"


class DocumentTooLargeError(RequestError):
    """The document has more bytes, pages or pixels than the limit."""

    status = 413
    code = "document_too_large"
    title = "Document too large"


class UnsupportedMediaTypeError(RequestError):
    """The body has an unsupported media type, or not the one that it declares."""

    status = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"


class DocumentForbiddenError(RequestError):
    """The document is in a place that the service may not read."""

    status = 403
    code = "document_forbidden"
    title = "Document forbidden"


class DocumentNotFoundError(RequestError):
    """The object in S3 does not exist."""

    status = 404
    code = "document_not_found"
    title = "Document not found"


class DocumentChangedError(RequestError):
    """The object in S3 was replaced while it was read."""

    status = 409
    code = "document_changed"
    title = "Document changed"


class ClientGoneError(RequestError):
    """The client disconnected before its reply; seen in logs and metrics only."""

    status = 499
    code = "client_gone"
    title = "Client closed request"


class InvalidOptionError(RequestError):
    """An option is unknown, or its value is invalid."""

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
    """The engine is not available at the moment."""

    status = 503
    code = "engine_unavailable"
    title = "Engine unavailable"


class OverloadedError(EngineError):
    """Too many requests or pages are waiting already."""

    code = "overloaded"
    title = "Overloaded"


class OutOfMemoryError(EngineError):
    """The accelerator has too little memory for this page."""

    code = "out_of_memory"
    title = "Out of memory"


class EngineFailedError(EngineError):
    """The engine process died twice while it read this page."""

    code = "engine_failed"
    title = "Engine failed"


class DeadlineExceededError(EngineError):
    """The deadline passed before the page was read."""

    status = 504
    code = "deadline_exceeded"
    title = "Deadline exceeded"


class StorageError(HandlerError):
    """S3 cannot be reached at the moment, or not from this container."""

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
    """Return the error with this code, or a plain HandlerError for an unknown code."""
    return next(
        (c for c in _list_classes(HandlerError) if c.code == code), HandlerError
    )(detail)


def _list_classes(root: type[HandlerError]) -> list[type[HandlerError]]:
    """Return a class and all of its direct and indirect subclasses."""
    return [
        root,
        *(leaf for child in root.__subclasses__() for leaf in _list_classes(child)),
    ]
