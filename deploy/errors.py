"""Exceptions of the deployment commands, with their exit statuses and codes.

DeployError                  1  failed
├── TransientError           1  transient
│   └── BusyError            1  busy
├── ConfigError              2  bad_config
├── DocumentError            1  bad_document
├── NotFoundError            4  not_found
├── ConflictError            5  conflict
│   └── AlreadyExistsError   5  already_exists
├── ResourceFailedError      6  resource_failed
├── WaitTimeoutError         7  wait_timeout
├── AccessDeniedError        8  access_denied
└── CredentialsError         8  credentials_invalid

Any other exception is a bug: the command ends with status 3 and a traceback. Ctrl-C
ends it with 130. The message says what happened to what, and the hint is the next
command to type.
"""

from __future__ import annotations

from copy import copy
from typing import Self

__all__ = [
    "BUG",
    "INTERRUPTED",
    "AccessDeniedError",
    "AlreadyExistsError",
    "BusyError",
    "ConfigError",
    "ConflictError",
    "CredentialsError",
    "DeployError",
    "DocumentError",
    "Interrupted",
    "NotFoundError",
    "ResourceFailedError",
    "TransientError",
    "WaitTimeoutError",
]

BUG = 3
INTERRUPTED = 130


class DeployError(Exception):
    """Base class of expected errors, which are reported without a traceback."""

    exit_code = 1
    code = "failed"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def with_message(self, message: str, *, hint: str | None) -> Self:
        """Return an error of the same class and code with another message and hint."""
        error = copy(self)
        error.args = (message,)
        error.message = message
        error.hint = hint
        return error

    def to_json(self) -> dict[str, str | int | None]:
        """Return the error as `--json` prints it."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "exit_code": self.exit_code,
        }


class TransientError(DeployError):
    """Failed call that may succeed if it is repeated, as after a lost connection.

    Waits and retries go on after this error and its subclasses; see `deploy.retries`.
    """

    code = "transient"


class BusyError(TransientError):
    """Throttling or an internal error of AWS."""

    code = "busy"


class ConfigError(DeployError):
    """Invalid file, flag or environment, which has to be changed first."""

    exit_code = 2
    code = "bad_config"


class DocumentError(DeployError):
    """Document that no endpoint can read.

    Its code is the service's own code for the problem.
    """

    code = "bad_document"

    def __init__(
        self, message: str, *, code: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code or self.code


class NotFoundError(DeployError):
    """Missing endpoint, image, bucket or file."""

    exit_code = 4
    code = "not_found"


class ConflictError(DeployError):
    """Resource that is being changed, or that another program owns."""

    exit_code = 5
    code = "conflict"


class AlreadyExistsError(ConflictError):
    """Resource to create that already exists."""

    code = "already_exists"


class ResourceFailedError(DeployError):
    """Failure of a resource on AWS; the message carries the reason."""

    exit_code = 6
    code = "resource_failed"


class WaitTimeoutError(DeployError):
    """Deadline of a wait that passed; the operation on AWS continues."""

    exit_code = 7
    code = "wait_timeout"


class AccessDeniedError(DeployError):
    """Valid credentials that do not allow a request; other requests may succeed."""

    exit_code = 8
    code = "access_denied"


class CredentialsError(DeployError):
    """Expired or unknown credentials, with which every request fails.

    This is not an AccessDeniedError: code that continues without a forbidden value
    must not continue after this error.
    """

    exit_code = 8
    code = "credentials_invalid"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a sentence about what exists now."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
