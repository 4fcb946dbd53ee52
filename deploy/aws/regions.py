"""Regions that the account has enabled."""

from __future__ import annotations

from deploy.aws.client import AWSClient
from deploy.errors import AccessDeniedError

__all__ = ["DESCRIBE_REGIONS", "regions_with_sagemaker"]

DESCRIBE_REGIONS = "ec2:DescribeRegions"
"""Action that lists the enabled regions."""
SERVICE = "sagemaker"


def regions_with_sagemaker(aws: AWSClient) -> tuple[list[str], bool]:
    """Return the enabled regions with SageMaker, and True.

    If the caller may not list the enabled regions, return all regions that boto3 knows,
    and False. AWS denies calls in a region that is not enabled.
    """
    known = aws.known_regions(SERVICE)
    try:
        regions = aws.call("ec2", "describe_regions")["Regions"]
    except AccessDeniedError:
        return known, False
    enabled = {str(region["RegionName"]) for region in regions}
    return [region for region in known if region in enabled], True
