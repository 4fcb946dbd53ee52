"""Advice on the reasons that AWS gives for a failure."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["ADVICE", "Advice", "advice_for"]


@dataclass(frozen=True, slots=True)
class Advice:
    """Meaning of a reason that contains `message`, and what to try."""

    message: str
    meaning: str
    hint: str

    def is_about(self, reason: str) -> bool:
        """Return True if a word of the reason begins with the message.

        Case matters for an abbreviation: `kmsKeyId` in a reason is not about KMS.
        """
        case = 0 if self.message.isupper() else re.IGNORECASE
        return re.search(rf"\b{re.escape(self.message)}", reason, case) is not None


KEY_UNUSABLE = (
    "a KMS key is disabled, in another region, or its policy does not allow the "
    "execution role to use it",
    "allow the execution role kms:Decrypt, kms:GenerateDataKey and "
    "kms:CreateGrant in the policy of the key; then the same command again",
)

ADVICE = (
    Advice(
        "CannotStartContainerError",
        "the container did not start; if its log is empty, the driver is too old for "
        "the image's CUDA",
        "chandra-sagemaker doctor compares them; see endpoint.ami",
    ),
    Advice(
        "did not pass the ping health check",
        "the container ran and the model was not loaded in time, or not at all",
        "chandra-sagemaker logs --errors; or raise endpoint.startup_timeout_seconds",
    ),
    Advice(
        "Unsupported manifest media type",
        "the image has an OCI manifest, which SageMaker does not support",
        "chandra-sagemaker image check --fix",
    ),
    Advice(
        "does not have BatchGetImage permission for the image",
        "the execution role is not allowed to pull the image",
        "chandra-sagemaker iam --create",
    ),
    Advice(
        "does not grant ecr:GetDownloadUrlForLayer",
        "the repository's policy does not let SageMaker pull the image, as for a "
        "repository of another account or region",
        "chandra-sagemaker image push copies the image into a repository of this "
        "account and region",
    ),
    Advice(
        "Please make sure all images included in the model",
        "the image does not exist, or the execution role cannot pull it",
        "chandra-sagemaker doctor checks the image and the role",
    ),
    Advice(
        "CannotPullContainer",
        "the machine could not pull the image: it is gone, the execution role is not "
        "allowed to, or the subnets have no route to ECR",
        "chandra-sagemaker doctor checks the image and the role; in a VPC, add "
        "endpoints for ecr.api, ecr.dkr and S3",
    ),
    Advice(
        "Cannot pull algorithm container",
        "the image does not exist, or the execution role cannot pull it",
        "chandra-sagemaker doctor checks the image and the role",
    ),
    Advice("KMS", *KEY_UNUSABLE),
    Advice("kms:", *KEY_UNUSABLE),
    Advice(
        "Rate exceeded",
        "AWS throttled the requests of this account",
        "wait a minute, then run the same command again",
    ),
    Advice(
        "InsufficientCapacity",
        "AWS has no capacity for this instance type in this region now",
        "list several endpoint.instance_types; SageMaker uses the first with capacity",
    ),
    Advice(
        "Unable to provision requested ML compute capacity",
        "AWS has no capacity for this instance type in this region now",
        "list several endpoint.instance_types; SageMaker uses the first with capacity",
    ),
    Advice(
        "ResourceLimitExceeded",
        "the account's quota for this instance type is used up, or zero; an update "
        "needs the old machines and the new ones at the same time",
        "chandra-sagemaker doctor names the quota and the command that asks for more",
    ),
    Advice(
        "Could not access model data",
        "the execution role cannot read the weights, or they do not exist",
        "chandra-sagemaker doctor; chandra-sagemaker model stage",
    ),
    Advice(
        "Failed to download model data",
        "the download of the weights took too long",
        "raise endpoint.download_timeout_seconds; bucket and endpoint should be in one "
        "region",
    ),
    Advice(
        "Unable to locate at least 2 availability zone",
        "two machines need subnets in two zones",
        "add a subnet of another zone to network.subnets",
    ),
    Advice(
        "CloudWatch alarm",
        "an alarm went off during the update, so the old machines keep serving",
        "chandra-sagemaker alarms; chandra-sagemaker logs --errors",
    ),
)


def advice_for(reason: str) -> Advice | None:
    """Return the first advice whose message occurs in a reason; None if none does."""
    return next((advice for advice in ADVICE if advice.is_about(reason)), None)
