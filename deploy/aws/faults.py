"""What AWS answers when it refuses, in our words."""

from __future__ import annotations

import re
from typing import TypeAlias

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError

from deploy.advice import advice_for
from deploy.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    BusyError,
    ConfigError,
    ConflictError,
    DeployError,
    NotFoundError,
    ResourceFailedError,
)

__all__ = ["CODES", "FAULTS", "Fault", "fault_of"]

Fault: TypeAlias = ClientError | BotoCoreError | ResponseParserError
FAULTS = (ClientError, BotoCoreError, ResponseParserError)
"""All that a call of botocore's raises."""

CODES: dict[str, type[DeployError]] = {
    "AccessDenied": AccessDeniedError,
    "AccessDeniedException": AccessDeniedError,
    "UnauthorizedOperation": AccessDeniedError,
    "AuthFailure": AccessDeniedError,
    "ExpiredToken": AccessDeniedError,
    "ExpiredTokenException": AccessDeniedError,
    "InvalidClientTokenId": AccessDeniedError,
    "UnrecognizedClientException": AccessDeniedError,
    "InvalidSignatureException": AccessDeniedError,
    "SignatureDoesNotMatch": AccessDeniedError,
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
    "ResourceLimitExceeded": ResourceFailedError,
    "LimitExceededException": ResourceFailedError,
    "InsufficientCapacityException": ResourceFailedError,
}

# SageMaker says most things with one code; only its sentence tells them apart.
SENTENCES: tuple[tuple[str, type[DeployError]], ...] = (
    (r"could not find|does not exist|cannot find|could not assume", NotFoundError),
    (r"already exist", AlreadyExistsError),
    (r"in-progress|cannot update|is being (created|updated|deleted)", ConflictError),
    (r"not authorized", AccessDeniedError),
    (r"no scalable target", NotFoundError),
)

HINTS = {
    "NoSuchBucket": "make the bucket, in the region of the endpoint, or name another "
    "one, in chandra.toml or where you typed it",
    "RepositoryNotFoundException": "chandra-sagemaker image push",
    "ImageNotFoundException": "chandra-sagemaker image push",
}

ANOTHER_SERVER = "check for a proxy, the region and --endpoint-url, then run it again"
WHATEVER = "chandra-sagemaker doctor looks at everything that a deployment needs"
HINTS_BY_KIND: dict[type[DeployError] | None, str] = {
    AlreadyExistsError: "chandra-sagemaker list shows what there is; or set another "
    "name in chandra.toml",
    ConflictError: "chandra-sagemaker status shows what is going on; then the same "
    "command again",
}


def fault_of(error: Fault, doing: str) -> DeployError:
    """`doing` is the service and the operation, as a person would say them."""
    if isinstance(error, ClientError):
        return _refusal(error, doing)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return ConfigError(
            "there are no AWS credentials",
            hint="aws sso login, or set AWS_PROFILE; `plan` works without",
        )
    if isinstance(
        error, SSOTokenLoadError | TokenRetrievalError | UnauthorizedSSOTokenError
    ):
        return AccessDeniedError(
            "the AWS login has expired", hint="aws sso login --profile PROFILE"
        )
    if isinstance(error, ProfileNotFound):
        return ConfigError(str(error), hint="aws configure list-profiles")
    if isinstance(error, NoRegionError):
        return ConfigError(
            "no region is set", hint="set region in chandra.toml, or add --region"
        )
    if isinstance(error, ResponseParserError):
        # Its text is the whole of an answer that is none of AWS's.
        return DeployError(
            f"{doing}: what answers is not AWS",
            hint=ANOTHER_SERVER,
        )
    if isinstance(error, ConnectionError | HTTPClientError):
        return DeployError(
            f"{doing}: AWS cannot be reached: {_without_password(str(error))}",
            hint="check the network, the region and --endpoint-url, then run it again",
        )
    return DeployError(f"{doing}: {error}", hint=WHATEVER)


def _without_password(text: str) -> str:
    """Addresses of proxies and of --endpoint-url may have one in them."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)


def _refusal(error: ClientError, doing: str) -> DeployError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    sentence = str(error.response.get("Error", {}).get("Message", "")) or code
    kind = CODES.get(code)
    if bucket := error.response.get("Error", {}).get("BucketName"):
        sentence = f"{sentence.rstrip('.')}: {bucket}"
    if sentence.lstrip().startswith("<"):
        # A page for browsers, of whatever stands before the service.
        return (kind or DeployError)(
            f"{doing}: the answer is a web page, and what answers is not AWS, or not "
            "well",
            hint=ANOTHER_SERVER,
        )
    if code in ("ValidationException", "ValidationError", "InvalidParameterException"):
        kind = next(
            (k for pattern, k in SENTENCES if re.search(pattern, sentence, re.I)), None
        )
    if kind is ConflictError and re.search("already exist", sentence, re.I):
        # SageMaker says of a job's name that it is in use.
        kind = AlreadyExistsError
    if kind is AccessDeniedError:
        return _denied(code, sentence, doing)
    advice = advice_for(f"{code}: {sentence}")
    hint = advice.hint if advice else HINTS.get(code, HINTS_BY_KIND.get(kind, WHATEVER))
    if kind is None:
        return DeployError(
            f"{doing}: {sentence or 'refused'} ({code or 'no code'})", hint=hint
        )
    named = f" ({code})" if advice else ""
    return kind(f"{doing}: {sentence}{named}", hint=hint)


def _denied(code: str, sentence: str, doing: str) -> AccessDeniedError:
    if code in ("ExpiredToken", "ExpiredTokenException"):
        return AccessDeniedError(
            f"{doing}: the credentials have expired", hint="aws sso login"
        )
    if code in ("InvalidClientTokenId", "UnrecognizedClientException"):
        return AccessDeniedError(
            f"{doing}: AWS does not know these credentials", hint="aws configure list"
        )
    return AccessDeniedError(
        f"{doing}: {sentence}",
        hint="chandra-sagemaker iam --caller prints the policy that allows it",
    )
