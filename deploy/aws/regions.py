"""Regions: those that the account has enabled, and the one that a bucket is in."""

from __future__ import annotations

from deploy.aws.client import AWSClient
from deploy.errors import AccessDeniedError, NotFoundError

__all__ = ["DESCRIBE_REGIONS", "bucket_region", "regions_with_sagemaker"]

DESCRIBE_REGIONS = "ec2:DescribeRegions"
"""Right to ask which regions are enabled."""
SERVICE = "sagemaker"
# What S3 answers for its two oldest regions.
OLD_NAMES = {"": "us-east-1", "EU": "eu-west-1"}


def regions_with_sagemaker(aws: AWSClient) -> tuple[list[str], bool]:
    """Return regions in which an endpoint may be, and whether all of them are enabled.

    Without the right to ask which are enabled, all that boto3 knows are returned. Calls
    to one that is not enabled are then denied.
    """
    known = aws.known_regions(SERVICE)
    try:
        found = aws.call("ec2", "describe_regions")["Regions"]
    except AccessDeniedError:
        return known, False
    enabled = {str(region["RegionName"]) for region in found}
    return [region for region in known if region in enabled], True


def bucket_region(aws: AWSClient, bucket: str) -> str | None:
    """Return the region of a bucket; None where there is no such bucket."""
    try:
        answer = aws.call("s3", "get_bucket_location", Bucket=bucket)
    except NotFoundError:
        return None
    region = str(answer.get("LocationConstraint") or "")
    return OLD_NAMES.get(region, region)
