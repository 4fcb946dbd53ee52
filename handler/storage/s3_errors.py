"""Translation of errors from S3 and boto3 into errors of the service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from handler.errors import (
    DocumentChangedError,
    DocumentForbiddenError,
    DocumentNotFoundError,
    HandlerError,
    RequestError,
    StorageError,
)
from handler.storage.addresses import Address

__all__ = ["translate_error"]

_NO_NETWORK_ADVICE = (
    "a container with network isolation, or in a VPC without an endpoint for S3, "
    "cannot reach it: send the document itself, or change the network"
)
_EXPIRED = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")
_REFUSED_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch")
_OTHER_REGION = (
    *("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"),
    *("IllegalLocationConstraintException", "301"),
)
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d")
_POLICIES = (
    ("vpc endpoint policy", "the policy of the VPC's endpoint for S3"),
    ("service control policy", "a service control policy of the organisation"),
    ("resource control policy", "a resource control policy of the organisation"),
    ("permissions boundary", "the permissions boundary of the endpoint's role"),
    ("session policy", "the policy of the session"),
    ("explicit deny in a resource-based policy", "a Deny in the bucket's policy"),
)
"""Phrases in S3's messages that name the denying policy, and our names for it."""


def translate_error(error: Exception, address: Address) -> HandlerError:
    """Return the error of the service for an error of boto3.

    The detail never contains S3's message, which may name the owner of the credentials,
    nor the address of a proxy, which may contain a password. Raises an exception that
    is not one of boto3 again.
    """
    from botocore import exceptions

    match error:
        case exceptions.ClientError():
            return _translate_response(error.response, address)
        case exceptions.ParamValidationError():
            return RequestError(f"{address} is not a valid address in S3")
        case (
            exceptions.NoCredentialsError()
            | exceptions.PartialCredentialsError()
            | exceptions.CredentialRetrievalError()
        ):
            return StorageError(
                "there are no AWS credentials to read S3: the endpoint needs an "
                f"execution role; {_NO_NETWORK_ADVICE}"
            )
        case exceptions.ProxyConnectionError():
            return StorageError(
                "S3 cannot be reached through the proxy that HTTPS_PROXY or HTTP_PROXY "
                "names: the proxy is down or refuses; correct the variable, or list "
                "S3's hosts in NO_PROXY"
            )
        case exceptions.SSLError():
            return StorageError(
                "the TLS certificate of S3 is not trusted, as happens behind a proxy "
                "that decrypts traffic: set AWS_CA_BUNDLE to its certificate"
            )
        case exceptions.ConnectTimeoutError():
            return StorageError(
                "S3 cannot be reached: no connection was made in time. The VPC may "
                "lack an endpoint for S3 or a route to it, or a security group may "
                "drop the traffic"
            )
        case exceptions.EndpointConnectionError():
            return StorageError(f"S3 cannot be reached: {_NO_NETWORK_ADVICE}")
        case exceptions.HTTPClientError() | exceptions.IncompleteReadError():
            return StorageError(
                f"the connection to S3 was lost or timed out while {address} was read: "
                "try again"
            )
        case exceptions.BotoCoreError():
            return StorageError(f"S3 cannot be read: {type(error).__name__}")
    raise error


def _translate_response(response: Mapping[str, Any], address: Address) -> HandlerError:
    """Return the error of the service for an error response of S3."""
    error = response.get("Error", {})
    code = str(error.get("Code", ""))
    text = str(error.get("Message", "")).lower()
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _EXPIRED:
        return StorageError("the credentials to read S3 are no longer valid")
    if code in _REFUSED_KEYS:
        return StorageError("S3 does not accept the credentials to read it")
    if code == "RequestTimeTooSkewed":
        return StorageError(
            "the clock of this machine is wrong, so S3 refuses to answer"
        )
    if code == "InvalidObjectState":
        return _archived_error(response, address)
    if code == "NoSuchBucket":
        return DocumentNotFoundError(f"there is no bucket {address.bucket}")
    if code in _OTHER_REGION:
        return _other_region_error(response, address)
    if code.startswith("KMS.") or "kms:" in text:
        return DocumentForbiddenError(
            f"{address} is encrypted with a KMS key that may not be used: allow the "
            "endpoint's role kms:Decrypt on the key, in its policy too, and see that "
            "the key is enabled"
        )
    if status == 400 and "server side encryption" in text:
        return DocumentForbiddenError(
            f"{address} is encrypted with a customer-provided key (SSE-C), which the "
            "service does not have: store it with SSE-S3 or SSE-KMS"
        )
    if "requester pays" in text or "requester-pays" in text:
        return DocumentForbiddenError(
            f"{address} is in a requester-pays bucket, and the service does not pay "
            "for requests: copy it to a bucket of your own"
        )
    match status:
        case 404:
            return DocumentNotFoundError(f"there is no {address}")
        case 401 | 403:
            return _forbidden_error(text, address)
        case 407:
            return StorageError(
                "the proxy in front of S3 requires a user and a password: add them to "
                "HTTPS_PROXY, or list S3's hosts in NO_PROXY"
            )
        case 409 | 412 | 416:
            return DocumentChangedError(f"{address} was changed while it was read")
    if status >= 500 or status == 429 or 300 <= status < 400:
        return StorageError(
            f"S3 cannot be read at the moment: it returns status {status}"
        )
    return RequestError(f"S3 refuses to read {address}: it returns status {status}")


def _archived_error(response: Mapping[str, Any], address: Address) -> HandlerError:
    """Return the error for an archived object, with its storage class if known."""
    error = response.get("Error", {})
    kinds = [
        str(response.get(name) or error.get(name) or "").upper()
        for name in ("StorageClass", "AccessTier")
    ]
    classes = [kind for kind in kinds if re.fullmatch("[A-Z_]{1,40}", kind)]
    shown = f" ({', '.join(classes)})" if classes else ""
    return DocumentForbiddenError(
        f"{address} is archived{shown}: restore it first, with aws s3api restore-object"
    )


def _other_region_error(response: Mapping[str, Any], address: Address) -> HandlerError:
    """Return the error for a bucket in another region, with its name if known."""
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    error = response.get("Error", {})
    region = str(headers.get("x-amz-bucket-region") or error.get("Region") or "")
    where = f", {region}," if _REGION.fullmatch(region) else ""
    return StorageError(
        f"bucket {address.bucket} is in another region{where} than the one in which "
        "the service calls S3: set AWS_REGION, or copy the document"
    )


def _forbidden_error(text: str, address: Address) -> HandlerError:
    """Return the error for a denied read, with the denying policy that `text` names.

    `text` is the message of S3 in lower case.
    """
    for phrase, policy in _POLICIES:
        if phrase in text:
            return DocumentForbiddenError(
                f"S3 does not let us read {address}: {policy} denies s3:GetObject"
            )
    return DocumentForbiddenError(
        f"S3 does not let us read {address}: allow the endpoint's role s3:GetObject "
        "on it. Without s3:ListBucket, S3 reports a missing object in the same way; "
        "it also does so for an object in a requester-pays bucket"
    )
