"""The exceptions of the deployment commands, with their exit statuses and codes.

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

Anything else is a bug and ends with 3 and a traceback, Ctrl-C with 130. The message
says what happened and to what, the hint is what to type next.
"""

from __future__ import annotations

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
    """Something expected went wrong."""

    exit_code = 1
    code = "failed"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def to_json(self) -> dict[str, str | int | None]:
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "exit_code": self.exit_code,
        }


class TransientError(DeployError):
    """A call that may succeed if it is repeated, as after a lost connection.

    Waits and retries go on after this error and its subclasses; see `deploy.retries`.
    """

    code = "transient"


class BusyError(TransientError):
    """AWS throttles requests or has an internal error."""

    code = "busy"


class ConfigError(DeployError):
    """The file, a flag or the environment has to change first."""

    exit_code = 2
    code = "bad_config"


class DocumentError(DeployError):
    """A document cannot be read, whatever the endpoint does.

    Programs see the service's own code for that.
    """

    code = "bad_document"

    def __init__(
        self, message: str, *, code: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code or self.code


class NotFoundError(DeployError):
    """There is no such endpoint, image, bucket or file."""

    exit_code = 4
    code = "not_found"


class ConflictError(DeployError):
    """Somebody else is changing it, or it is not ours to change."""

    exit_code = 5
    code = "conflict"


class AlreadyExistsError(ConflictError):
    """What was to be made is there."""

    code = "already_exists"


class ResourceFailedError(DeployError):
    """AWS gave up; the message carries its reason."""

    exit_code = 6
    code = "resource_failed"


class WaitTimeoutError(DeployError):
    """It goes on, but we no longer wait."""

    exit_code = 7
    code = "wait_timeout"


class AccessDeniedError(DeployError):
    """The credentials are valid and do not allow it; other requests may succeed."""

    exit_code = 8
    code = "access_denied"


class CredentialsError(DeployError):
    """The credentials have expired or are unknown, so that every request fails.

    It is no AccessDeniedError: code that goes on without what it may not read must not
    go on here.
    """

    exit_code = 8
    code = "credentials_invalid"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a sentence that says what exists now."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
