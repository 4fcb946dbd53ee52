"""Translation of botocore's errors into those of `deploy.errors`."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from deploy.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    BusyError,
    ConfigError,
    ConflictError,
    CredentialsError,
    DeployError,
    NotFoundError,
    ResourceFailedError,
    TransientError,
)
from deploy.plan.advice import advice_for

__all__ = ["CODES", "SdkError", "deploy_error_from", "sdk_errors"]

# botocore is imported where it is needed: help and completion start without it.
SdkError: TypeAlias = Any
"""An instance of one of `sdk_errors()`."""

CODES: dict[str, type[DeployError]] = {
    "AccessDenied": AccessDeniedError,
    "AccessDeniedException": AccessDeniedError,
    "UnauthorizedOperation": AccessDeniedError,
    "AuthFailure": CredentialsError,
    "AuthorizationError": AccessDeniedError,
    "MissingAuthenticationToken": CredentialsError,
    "MissingAuthenticationTokenException": CredentialsError,
    "ExpiredToken": CredentialsError,
    "ExpiredTokenException": CredentialsError,
    "TokenRefreshRequired": CredentialsError,
    "InvalidAccessKeyId": CredentialsError,
    "InvalidClientTokenId": CredentialsError,
    "InvalidToken": CredentialsError,
    "UnrecognizedClientException": CredentialsError,
    "IncompleteSignature": CredentialsError,
    "InvalidSignatureException": CredentialsError,
    "SignatureDoesNotMatch": CredentialsError,
    "RequestExpired": CredentialsError,
    "RequestTimeTooSkewed": CredentialsError,
    "KMS.AccessDeniedException": AccessDeniedError,
    "KMSAccessDeniedException": AccessDeniedError,
    "KMS.DisabledException": ConfigError,
    "KMSDisabledException": ConfigError,
    "KMS.KMSInvalidStateException": ConfigError,
    "KMSInvalidStateException": ConfigError,
    "KMS.NotFoundException": NotFoundError,
    "KMSNotFoundException": NotFoundError,
    "KmsException": ConfigError,
    "403": AccessDeniedError,
    "404": NotFoundError,
    "NoSuchBucket": NotFoundError,
    "NoSuchKey": NotFoundError,
    "NoSuchEntity": NotFoundError,
    "NoSuchUpload": NotFoundError,
    "NotFoundException": NotFoundError,
    "ObjectNotFoundException": NotFoundError,
    "ResourceNotFound": NotFoundError,
    "ResourceNotFoundException": NotFoundError,
    "RepositoryNotFoundException": NotFoundError,
    "ImageNotFoundException": NotFoundError,
    "LifecyclePolicyNotFoundException": NotFoundError,
    "DashboardNotFoundError": NotFoundError,
    "NoSuchResourceException": NotFoundError,
    "InvalidSubnetID.NotFound": NotFoundError,
    "InvalidSubnetID.Malformed": NotFoundError,
    "InvalidGroup.NotFound": NotFoundError,
    "InvalidGroupId.Malformed": NotFoundError,
    "EntityAlreadyExists": AlreadyExistsError,
    "RepositoryAlreadyExistsException": AlreadyExistsError,
    "ImageAlreadyExistsException": AlreadyExistsError,
    "ImageTagAlreadyExistsException": AlreadyExistsError,
    "LayerAlreadyExistsException": AlreadyExistsError,
    "ResourceAlreadyExistsException": AlreadyExistsError,
    "BucketAlreadyOwnedByYou": AlreadyExistsError,
    "ConflictException": ConflictError,
    "ResourceInUse": ConflictError,
    "ResourceInUseException": ConflictError,
    "OperationAborted": ConflictError,
    "PreconditionFailed": ConflictError,
    "ConditionalRequestConflict": ConflictError,
    "BucketAlreadyExists": ConflictError,
    "Throttling": BusyError,
    "ThrottlingException": BusyError,
    "ThrottledException": BusyError,
    "RequestThrottled": BusyError,
    "RequestThrottledException": BusyError,
    "EC2ThrottledException": BusyError,
    "BandwidthLimitExceeded": BusyError,
    "PriorRequestNotComplete": BusyError,
    "TooManyRequestsException": BusyError,
    "RequestLimitExceeded": BusyError,
    "SlowDown": BusyError,
    "ServiceUnavailable": BusyError,
    "ServiceUnavailableException": BusyError,
    "InternalFailure": BusyError,
    "InternalServerException": BusyError,
    "InternalDependencyException": BusyError,
    "500": BusyError,
    "502": BusyError,
    "503": BusyError,
    "504": BusyError,
    "RequestTimeout": TransientError,
    "RequestTimeoutException": TransientError,
    "ResourceLimitExceeded": ResourceFailedError,
    "LimitExceededException": ResourceFailedError,
    "InsufficientCapacityException": ResourceFailedError,
}

# SageMaker uses the code ValidationException for most errors, so the message decides.
SENTENCES: tuple[tuple[str, type[DeployError]], ...] = (
    (r"could not find|does not exist|cannot find|could not assume", NotFoundError),
    (r"already exist", AlreadyExistsError),
    (r"in-progress|cannot update|is being (created|updated|deleted)", ConflictError),
    (r"not authorized", AccessDeniedError),
    (r"no scalable target", NotFoundError),
)

LOGIN = (
    "aws sso login or aws login, or set new keys; "
    "aws sts get-caller-identity shows whether they work"
)
CHECK_CLOCK = "set the clock of this machine, then run the same command again"
CHECK_KEYS = (
    "aws configure list shows which keys are used; a region that the account has not "
    "enabled refuses them too"
)
ALLOW_KEY = (
    "allow kms:Decrypt, kms:GenerateDataKey and kms:CreateGrant in the policy of the "
    "key, for these credentials and the execution role"
)
OTHER_KEY = "aws kms describe-key shows the state of the key; or name another key"

HINTS = {
    "ExpiredToken": LOGIN,
    "ExpiredTokenException": LOGIN,
    "TokenRefreshRequired": LOGIN,
    "RequestExpired": f"{CHECK_CLOCK}; or {LOGIN}",
    "RequestTimeTooSkewed": CHECK_CLOCK,
    "AuthFailure": f"{CHECK_KEYS}; or {CHECK_CLOCK}",
    "InvalidAccessKeyId": CHECK_KEYS,
    "InvalidClientTokenId": CHECK_KEYS,
    "InvalidToken": CHECK_KEYS,
    "UnrecognizedClientException": CHECK_KEYS,
    "IncompleteSignature": CHECK_KEYS,
    "MissingAuthenticationToken": CHECK_KEYS,
    "MissingAuthenticationTokenException": CHECK_KEYS,
    "InvalidSignatureException": f"{CHECK_KEYS}; or {CHECK_CLOCK}",
    "SignatureDoesNotMatch": f"{CHECK_KEYS}; or {CHECK_CLOCK}",
    # An answer of S3 to HEAD has no body, so an expired token is a 400 without a code.
    "400": "aws sts get-caller-identity shows whether the credentials have expired",
    "KMS.AccessDeniedException": ALLOW_KEY,
    "KMSAccessDeniedException": ALLOW_KEY,
    "KMS.DisabledException": OTHER_KEY,
    "KMSDisabledException": OTHER_KEY,
    "KMS.KMSInvalidStateException": OTHER_KEY,
    "KMSInvalidStateException": OTHER_KEY,
    "KMS.NotFoundException": OTHER_KEY,
    "KMSNotFoundException": OTHER_KEY,
    "KmsException": f"{ALLOW_KEY}; {OTHER_KEY}",
    "NoSuchBucket": "make the bucket, in the region of the endpoint, or name another "
    "one, in chandra.toml or where you typed it",
    "RepositoryNotFoundException": "chandra-sagemaker image push",
    "ImageNotFoundException": "chandra-sagemaker image push",
}

TOO_MANY_REQUESTS = 429
ANOTHER_SERVER = (
    "check the proxy, the region and --endpoint-url, then run the command again"
)
DOCTOR = "chandra-sagemaker doctor checks what a deployment needs"
HINTS_BY_KIND: dict[type[DeployError] | None, str] = {
    BusyError: "wait a minute, then run the same command again",
    AccessDeniedError: "chandra-sagemaker iam --caller prints the policy that allows "
    "it",
    AlreadyExistsError: "chandra-sagemaker list shows what there is; or set another "
    "name in chandra.toml",
    ConflictError: "chandra-sagemaker status shows what is going on; then the same "
    "command again",
}


def sdk_errors() -> tuple[type[Exception], ...]:
    """Return the base classes of all errors that a call of botocore raises."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return ClientError, BotoCoreError, ResponseParserError


def deploy_error_from(error: SdkError, doing: str) -> DeployError:
    """Return the DeployError to raise for an error of botocore.

    `doing` names the service and the operation in the message.
    """
    from botocore.exceptions import (
        ClientError,
        ConnectionError,
        CredentialRetrievalError,
        FlexibleChecksumError,
        HTTPClientError,
        IncompleteReadError,
        LoginError,
        LoginInsufficientPermissions,
        NoAuthTokenError,
        NoCredentialsError,
        NoRegionError,
        PartialCredentialsError,
        ProfileNotFound,
        RefreshWithMFAUnsupportedError,
        SSOError,
        TokenRetrievalError,
    )
    from botocore.parsers import ResponseParserError

    if isinstance(error, ClientError):
        return _refusal_error(error, doing)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return ConfigError(
            "no AWS credentials were found",
            hint="aws sso login, or set AWS_PROFILE; `plan` works without",
        )
    if isinstance(
        error, SSOError | TokenRetrievalError | NoAuthTokenError | LoginError
    ) and not isinstance(error, LoginInsufficientPermissions):
        return CredentialsError(
            "the AWS login has expired",
            hint="aws sso login --profile PROFILE, or aws login",
        )
    if isinstance(
        error,
        CredentialRetrievalError
        | LoginInsufficientPermissions
        | RefreshWithMFAUnsupportedError,
    ):
        return CredentialsError(
            f"the AWS credentials cannot be renewed: {error}", hint=LOGIN
        )
    if isinstance(error, ProfileNotFound):
        return ConfigError(str(error), hint="aws configure list-profiles")
    if isinstance(error, NoRegionError):
        return ConfigError(
            "no region is set", hint="set region in chandra.toml, or add --region"
        )
    if isinstance(error, ResponseParserError):
        # The text of the error is the whole response, which did not come from AWS.
        return TransientError(
            f"{doing}: received a response that is not from AWS",
            hint=ANOTHER_SERVER,
        )
    if isinstance(
        error,
        ConnectionError | HTTPClientError | IncompleteReadError | FlexibleChecksumError,
    ):
        return TransientError(
            f"{doing}: AWS cannot be reached: {_without_password(str(error))}",
            hint="check the network, the region and --endpoint-url, then run the "
            "command again",
        )
    return DeployError(f"{doing}: {error}", hint=DOCTOR)


def _without_password(text: str) -> str:
    """Return the text without passwords in URLs, as of a proxy."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)


def _refusal_error(error: SdkError, doing: str) -> DeployError:
    """Return the error for a response of AWS with an error code."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    sentence = str(error.response.get("Error", {}).get("Message", "")) or code
    kind = CODES.get(code) or _kind_of_status(error)
    if bucket := error.response.get("Error", {}).get("BucketName"):
        sentence = f"{sentence.rstrip('.')}: {bucket}"
    if sentence.lstrip().startswith("<"):
        # A proxy or a load balancer answered with a page for browsers.
        return (kind or TransientError)(
            f"{doing}: received an HTML page instead of an AWS response",
            hint=ANOTHER_SERVER,
        )
    if code in ("ValidationException", "ValidationError", "InvalidParameterException"):
        kind = next(
            (k for pattern, k in SENTENCES if re.search(pattern, sentence, re.I)), None
        )
    if kind is ConflictError and re.search("already exist", sentence, re.I):
        # SageMaker reports the name of an existing job as a resource in use.
        kind = AlreadyExistsError
    if kind is AccessDeniedError or kind is CredentialsError:
        return _denied_error(kind, code, sentence, doing)
    advice = None if code in HINTS else advice_for(f"{code}: {sentence}")
    hint = advice.hint if advice else HINTS.get(code, HINTS_BY_KIND.get(kind, DOCTOR))
    if kind is None:
        return DeployError(
            f"{doing}: {sentence or 'refused'} ({code or 'no code'})", hint=hint
        )
    named = f" ({code})" if advice else ""
    return kind(f"{doing}: {sentence}{named}", hint=hint)


def _kind_of_status(error: SdkError) -> type[DeployError] | None:
    """Return TransientError for an unknown code if the HTTP status means "retry"."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return TransientError if status == TOO_MANY_REQUESTS or status >= 500 else None


def _denied_error(
    kind: type[DeployError], code: str, sentence: str, doing: str
) -> DeployError:
    """Return the error for denied access or rejected credentials."""
    hint = HINTS.get(code, HINTS_BY_KIND[AccessDeniedError])
    if hint is LOGIN:
        sentence = "the credentials have expired"
    elif hint is CHECK_KEYS:
        sentence = "AWS does not know these credentials"
    elif re.search(r"\bkms:\w+", sentence):
        hint = ALLOW_KEY
    return kind(f"{doing}: {sentence}", hint=hint)
