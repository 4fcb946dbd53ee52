"""The regions that the account has enabled."""

from __future__ import annotations

from deploy.aws.client import AWSClient
from deploy.errors import AccessDeniedError

__all__ = ["DESCRIBE_REGIONS", "regions_with_sagemaker"]

DESCRIBE_REGIONS = "ec2:DescribeRegions"
"""Right to ask which regions are enabled."""
SERVICE = "sagemaker"


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
