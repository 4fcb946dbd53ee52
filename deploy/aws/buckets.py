"""Regions of buckets: SageMaker and CodeBuild read from their own region only."""

from __future__ import annotations

from deploy.aws.client import AWSClient
from deploy.errors import AccessDeniedError, ConfigError

__all__ = ["bucket_region", "refuse_other_region"]


def bucket_region(aws: AWSClient, bucket: str) -> str:
    """Return the region of a bucket.

    Raises NotFoundError if the bucket does not exist, and AccessDeniedError if the
    caller may call neither GetBucketLocation nor HeadBucket.
    """
    try:
        answer = aws.call("s3", "get_bucket_location", Bucket=bucket)
    except AccessDeniedError:
        # A caller who may list a bucket of another account gets its region from HEAD.
        head = aws.call("s3", "head_bucket", Bucket=bucket)
        if "BucketRegion" not in head:
            raise
        return str(head["BucketRegion"])
    region = answer.get("LocationConstraint") or "us-east-1"
    # S3 may still report the region of Ireland by its first name.
    return {"EU": "eu-west-1"}.get(region, region)


def refuse_other_region(
    aws: AWSClient, bucket: str, *, why: str, then: str
) -> str | None:
    """Raise ConfigError if a bucket is in another region than `aws`.

    `why` is the reason in front of the region's name, as in "SageMaker reads weights
    from". `then` is the command to type afterwards. Returns None for the right region,
    and a note if the caller may not read the bucket's region.
    """
    try:
        region = bucket_region(aws, bucket)
    except AccessDeniedError as error:
        # The caller may be allowed to upload all the same.
        return (
            f"the region of bucket {bucket} is not known, and {why} {aws.region} only: "
            f"{error.message}"
        )
    if region != aws.region:
        raise ConfigError(
            f"bucket {bucket} is in {region}, and {why} {aws.region} only: nothing was "
            "uploaded",
            hint=f"set [model] bucket in chandra.toml to one in {aws.region}, then "
            f"{then}",
        )
    return None
