"""Upload of the layers of an image archive to ECR, in parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from deploy.aws.client import AWSClient
from deploy.errors import AlreadyExistsError
from deploy.image.archive import Archive, Blob

__all__ = ["upload_blobs"]

PART_BYTES = 10 * 1024 * 1024


def upload_blobs(
    aws: AWSClient,
    repository: str,
    archive: Archive,
    blobs: Sequence[Blob],
    progress: Callable[[int, int], None],
) -> None:
    """Upload the blobs that the repository lacks.

    `progress` is called with the number of bytes that are present, and the total.
    """
    total = sum(blob.size for blob in blobs)
    done = 0
    for blob in blobs:
        if _is_uploaded(aws, repository, blob.digest):
            done += blob.size
            progress(done, total)
            continue
        for size in _upload_blob(aws, repository, archive, blob.digest):
            done += size
            progress(done, total)


def _is_uploaded(aws: AWSClient, repository: str, digest: str) -> bool:
    answer = aws.call(
        "ecr",
        "batch_check_layer_availability",
        repositoryName=repository,
        layerDigests=[digest],
    )
    return any(
        layer.get("layerAvailability") == "AVAILABLE"
        for layer in answer.get("layers", ())
    )


def _upload_blob(
    aws: AWSClient, repository: str, archive: Archive, digest: str
) -> list[int]:
    """Upload one blob; return the sizes of its parts in bytes."""
    upload = aws.call("ecr", "initiate_layer_upload", repositoryName=repository)
    sizes, first = [], 0
    for part in archive.read_parts(digest, min(PART_BYTES, int(upload["partSize"]))):
        aws.call(
            "ecr",
            "upload_layer_part",
            repositoryName=repository,
            uploadId=upload["uploadId"],
            partFirstByte=first,
            partLastByte=first + len(part) - 1,
            layerPartBlob=part,
        )
        first += len(part)
        sizes.append(len(part))
    # Another process may have uploaded the same blob meanwhile.
    with suppress(AlreadyExistsError):
        aws.call(
            "ecr",
            "complete_layer_upload",
            repositoryName=repository,
            uploadId=upload["uploadId"],
            layerDigests=[digest],
        )
    return sizes
