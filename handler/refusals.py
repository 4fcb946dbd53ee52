"""What S3's refusals, and its silence, mean to whoever asked for a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handler.addresses import Address
from handler.errors import (
    DocumentChangedError,
    DocumentForbiddenError,
    DocumentNotFoundError,
    HandlerError,
    RequestError,
    StorageError,
)

__all__ = ["meaning_of"]

_NO_WAY = (
    "a container with network isolation, or in a VPC without an endpoint for S3, has "
    "no way there: send the document itself, or change that"
)


def meaning_of(error: Exception, address: Address) -> HandlerError:
    """What has gone wrong between here and S3, in our words.

    Never in S3's own, which may name whose credentials they are. An exception that
    is none of boto3's is raised again.
    """
    from botocore import exceptions

    match error:
        case exceptions.ClientError():
            return _refusal(error.response, address)
        case exceptions.ParamValidationError():
            return RequestError(f"{address} is no address that S3 knows")
        case (
            exceptions.NoCredentialsError()
            | exceptions.PartialCredentialsError()
            | exceptions.CredentialRetrievalError()
        ):
            return StorageError(
                "there are no AWS credentials to read S3 with: the endpoint needs an "
                f"execution role; {_NO_WAY}"
            )
        case exceptions.BotoCoreError():
            return StorageError(f"S3 cannot be reached: {_NO_WAY}")
    raise error


def _refusal(response: Mapping[str, Any], address: Address) -> HandlerError:
    code = response.get("Error", {}).get("Code", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in ("ExpiredToken", "InvalidToken", "TokenRefreshRequired"):
        return StorageError("the credentials to read S3 with are no longer valid")
    if code == "InvalidObjectState":
        return DocumentForbiddenError(f"{address} is archived: restore it first")
    if code == "NoSuchBucket":
        return DocumentNotFoundError(f"there is no bucket {address.bucket}")
    match status:
        case 404:
            return DocumentNotFoundError(f"there is no {address}")
        case 401 | 403:
            return DocumentForbiddenError(
                f"S3 does not let us read {address}: allow the endpoint's role "
                "s3:GetObject there. What does not exist looks the same, unless it is "
                "allowed s3:ListBucket"
            )
        case 409 | 412 | 416:
            return DocumentChangedError(f"{address} was changed while it was read")
    if status >= 500 or status == 429 or 300 <= status < 400:
        return StorageError(f"S3 cannot be read just now: it answers {status}")
    return RequestError(f"S3 refuses to read {address}: it answers {status}")
