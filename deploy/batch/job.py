"""Model and job of a batch transform.

A job gets its objects in a manifest, so that it reads exactly the objects that were
counted and priced, even if the prefix holds other ones.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from deploy.batch.outcome import FailedDocument
from deploy.config import DeployConfig, ModelSource, TransformWeights
from deploy.documents.document import split_uri
from deploy.resources import (
    REVISION_TAG,
    Identity,
    SageMakerModel,
    digest,
    image_uri,
    revision_of,
    tag_list,
    tags_of,
    weights_uri,
)
from deploy.weights.files import TAR

__all__ = [
    "LOG_GROUP",
    "MAX_ENVIRONMENT",
    "MAX_PAYLOAD_MB",
    "TransformJob",
    "TransformState",
    "Work",
    "build_transform_model",
    "common_prefix",
    "list_possible_outputs",
    "tar_uri",
    "transforms_prefix",
]

LOG_GROUP = "/aws/sagemaker/TransformJobs"
"""Log group of all jobs in the account; stream names begin with the job's name."""
MAX_PAYLOAD_MB = 100
"""Largest object, and limit of the object size times the objects sent at once."""
MAX_ENVIRONMENT = 16
# The deadline of an endpoint does not apply to jobs, which have no time limit.
DEADLINE = "CHANDRA_DEADLINE_SECONDS"


@dataclass(frozen=True, slots=True)
class Work:
    """Object that a job reads; it holds one document."""

    key: str
    """Key relative to the job's prefix."""
    etag: str
    """Value that changes with the contents."""
    name: str
    """Name of the document in reports."""
    size: int
    """Bytes that are sent to the container."""
    num_pages: int = 1
    """Number of pages, counted or estimated from other documents."""
    document: str | None = None
    """Digest by which the container's log names the document: 16 hexadecimal digits of
    the sha256 of its bytes or of its s3:// address. None if it is not known before the
    document is read."""


@dataclass(frozen=True, slots=True)
class TransformJob:
    """Batch transform job as it is to be created."""

    owner: str
    """Name of the deployment."""
    model: SageMakerModel
    bucket: str
    """Bucket of the manifest: `model.bucket`."""
    prefix: str
    """Prefix of the objects, as s3://bucket/prefix/."""
    requested: tuple[Work, ...]
    """All objects that were requested."""
    work: tuple[Work, ...]
    """The requested objects that have no result yet."""
    output: str
    """Prefix of the results, as s3://bucket/prefix/."""
    accept: str
    content_type: str
    instance_type: str
    timeout_seconds: int
    max_retries: int
    ami: str
    environment: Mapping[str, str] = field(default_factory=dict)
    kms_key: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1
    retry_of: str | None = None
    """Name of the job whose failed documents this one retries."""
    instance_count: int = 1
    max_concurrent: int = 1
    """Number of objects sent to one machine at once."""
    max_payload_mb: int = 1
    left_out: tuple[FailedDocument, ...] = ()
    """Documents that were requested by name and are not part of the job."""

    @property
    def name(self) -> str:
        """Deployment name and a digest of the objects and how they are read.

        Jobs with the same work on other machines have the same name.
        """
        return f"{self.owner}-{digest(self._identity)}"

    @property
    def manifest_key(self) -> str:
        return f"{transforms_prefix(self.owner)}jobs/{self.name}/manifest.json"

    @property
    def work_key(self) -> str:
        return f"{transforms_prefix(self.owner)}jobs/{self.name}/work.json"

    @property
    def left_out_key(self) -> str:
        return f"{transforms_prefix(self.owner)}jobs/{self.name}/left_out.json"

    @property
    def manifest(self) -> bytes:
        """Manifest in the format of SageMaker."""
        entries = [{"prefix": self.prefix}, *(work.key for work in self.work)]
        return json.dumps(entries).encode()

    @property
    def work_list(self) -> bytes:
        """JSON of the documents that the job reads, stored for `status` and `fetch`."""
        return json.dumps([dataclasses.asdict(work) for work in self.work]).encode()

    @property
    def left_out_list(self) -> bytes:
        """JSON of the requested documents that are not read, stored for `status`."""
        return json.dumps([dataclasses.asdict(each) for each in self.left_out]).encode()

    @property
    def request(self) -> dict[str, Any]:
        """Parameters of CreateTransformJob."""
        output: dict[str, Any] = {"S3OutputPath": self.output, "Accept": self.accept}
        if self.kms_key is not None:
            output["KmsKeyId"] = self.kms_key
        return {
            "TransformJobName": self.name,
            "ModelName": self.model.name,
            # Without these, the container or SageMaker would choose its own defaults.
            "MaxConcurrentTransforms": self.max_concurrent,
            "MaxPayloadInMB": self.max_payload_mb,
            "BatchStrategy": "SingleRecord",
            "ModelClientConfig": {
                "InvocationsTimeoutInSeconds": self.timeout_seconds,
                "InvocationsMaxRetries": self.max_retries,
            },
            "Environment": dict(self.environment),
            "TransformInput": {
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "ManifestFile",
                        "S3Uri": f"s3://{self.bucket}/{self.manifest_key}",
                    }
                },
                "ContentType": self.content_type,
                "CompressionType": "None",
                "SplitType": "None",
            },
            "TransformOutput": output,
            "TransformResources": {
                "InstanceType": self.instance_type,
                "InstanceCount": self.instance_count,
                "TransformAmiVersion": self.ami,
            },
            "Tags": tag_list(self.tags),
        }

    @property
    def _identity(self) -> list[Any]:
        return [
            self.model.name,
            self.prefix,
            sorted([work.key, work.etag] for work in self.requested),
            self.output,
            self.accept,
            self.content_type,
            dict(self.environment),
            self.retry_of,
            self.attempt,
        ]


@dataclass(frozen=True, slots=True)
class TransformState:
    """Existing batch transform job."""

    name: str
    status: str
    model: str
    manifest: str | None
    """S3 address of the list of objects; None if this program did not start the job."""
    output: str
    accept: str
    content_type: str
    instance_type: str
    instance_count: int
    environment: Mapping[str, str] = field(default_factory=dict)
    failure: str | None = None
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    is_ours: bool = True

    @property
    def is_changing(self) -> bool:
        """True until the job has ended."""
        return self.status in ("InProgress", "Stopping")


def transforms_prefix(deployment: str) -> str:
    """Return the prefix in `model.bucket` of manifests and uploaded documents."""
    return f"transforms/{deployment}/"


def list_possible_outputs(key: str, prefix: str) -> tuple[str, ...]:
    """Return the keys that the result of an object may have, likeliest first.

    The keys are relative to the output of the job, `key` to its `prefix`.

    The AWS guide appends `.out` to the key below the prefix; the API reference shows
    the whole key of the input.
    """
    _, inside = split_uri(prefix)
    return (f"{key}.out", f"{inside}{key}.out")


def tar_uri(config: DeployConfig) -> str:
    """Return the address of the tar that `model stage --tar` writes."""
    return weights_uri(config).rstrip("/") + TAR


def build_transform_model(config: DeployConfig, identity: Identity) -> SageMakerModel:
    """Return the SageMaker model of the batch transform jobs of a deployment.

    Batch transform rejects models with a ModelDataSource, so the weights come from a
    tar, or the container downloads them.
    """
    table = config.transform
    is_staged = config.model.source is ModelSource.S3
    is_pulled = is_staged and table.weights is TransformWeights.PULL
    environment = {
        "MODEL_ID": config.model.id,
        "MODEL_REVISION": revision_of(config),
        "SERVE_USE": "batch",
        **{n: v for n, v in config.endpoint.environment.items() if n != DEADLINE},
    }
    if is_pulled:
        environment["MODEL_S3_URI"] = weights_uri(config)
    is_tar = is_staged and not is_pulled
    return SageMakerModel(
        prefix=config.name,
        image=image_uri(config),
        role=config.role or identity.role_arn(config.role_name),
        environment=environment,
        weights=None,
        weights_tar=tar_uri(config) if is_tar else None,
        isolation=config.network.isolation,
        subnets=config.network.subnets,
        security_groups=config.network.security_groups,
        tags=tags_of(config) | {REVISION_TAG: revision_of(config)},
    )


def common_prefix(uri: str, uris: Sequence[str]) -> str:
    """Return the prefix that the objects `uris` share, with a slash at the end.

    It is the folder `uri` if all objects lie in it. Otherwise `uri` is one of the
    objects, and the prefix is the folder that contains it.
    """
    folder = uri if uri.endswith("/") else f"{uri}/"
    if all(each.startswith(folder) for each in uris):
        return folder
    bucket, key = split_uri(uri)
    # Keep all slashes: a key may begin with one, and contain two in a row.
    head, slash, _ = key.rpartition("/")
    return f"s3://{bucket}/{head}{slash}"
