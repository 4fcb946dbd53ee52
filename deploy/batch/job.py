"""What a batch transform consists of: a model whose weights it takes, and a job.

A job is given its objects one by one, in a manifest: what is counted, priced and shown
is what is read, whatever else lies below the prefix or comes there meanwhile.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from deploy.batch.outcome import Failure
from deploy.config import DeployConfig
from deploy.documents.document import split_uri
from deploy.resources import (
    REVISION_TAG,
    Identity,
    Model,
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
    "common_prefix",
    "outputs_of",
    "tar_uri",
    "transform_model_from",
    "transforms_prefix",
]

LOG_GROUP = "/aws/sagemaker/TransformJobs"
"""Of every job in the account; its streams begin with the job's name."""
MAX_PAYLOAD_MB = 100
"""The largest object, and the limit of object size times those sent at once."""
MAX_ENVIRONMENT = 16
# An endpoint has to answer in time; a job has as long as it takes.
DEADLINE = "CHANDRA_DEADLINE_SECONDS"


@dataclass(frozen=True, slots=True)
class Work:
    """One object that a job reads, which is one document."""

    key: str
    """Below the job's prefix."""
    etag: str
    """Changes when its contents do."""
    name: str
    """As whoever asked knows it."""
    size: int
    """Bytes that are sent to the container."""
    num_pages: int = 1
    """Counted, or as many as others like it have."""
    document: str | None = None
    """The digest by which the container's log knows it; None where only it could say:
    sha256 of the bytes, or of the s3:// address, in sixteen digits."""


@dataclass(frozen=True, slots=True)
class TransformJob:
    """What is wanted of SageMaker."""

    owner: str
    """The deployment."""
    model: Model
    bucket: str
    """Of ours: where the job's manifest lies."""
    prefix: str
    """s3://bucket/prefix/ of the objects."""
    wanted: tuple[Work, ...]
    """Everything that was asked for."""
    work: tuple[Work, ...]
    """Those of them that have no result yet."""
    output: str
    """s3://bucket/prefix/"""
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
    of: str | None = None
    """The job whose failures these are."""
    instance_count: int = 1
    max_concurrent: int = 1
    """Objects sent at once to one machine."""
    max_payload_mb: int = 1
    left_out: tuple[Failure, ...] = ()
    """Documents that were asked for by name, and that the job is not given."""

    @property
    def name(self) -> str:
        """The same for the same objects read in the same way, on whatever machines."""
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
        """As SageMaker reads it."""
        entries = [{"prefix": self.prefix}, *(work.key for work in self.work)]
        return json.dumps(entries).encode()

    @property
    def work_list(self) -> bytes:
        """The documents that the job reads, stored for `status` and `fetch`."""
        return json.dumps([dataclasses.asdict(work) for work in self.work]).encode()

    @property
    def left_out_list(self) -> bytes:
        """The documents that were asked for and are not read, stored for `status`."""
        return json.dumps([dataclasses.asdict(each) for each in self.left_out]).encode()

    @property
    def request(self) -> dict[str, Any]:
        output: dict[str, Any] = {"S3OutputPath": self.output, "Accept": self.accept}
        if self.kms_key is not None:
            output["KmsKeyId"] = self.kms_key
        return {
            "TransformJobName": self.name,
            "ModelName": self.model.name,
            # Left out, each of them becomes what the container or SageMaker thinks.
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
            sorted([work.key, work.etag] for work in self.wanted),
            self.output,
            self.accept,
            self.content_type,
            dict(self.environment),
            self.of,
            self.attempt,
        ]


@dataclass(frozen=True, slots=True)
class TransformState:
    """A job that is there."""

    name: str
    status: str
    model: str
    manifest: str | None
    """s3:// of the list of its objects; None where it is not one of ours."""
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
        return self.status in ("InProgress", "Stopping")


def transforms_prefix(deployment: str) -> str:
    """Below it, in model.bucket, lies all that jobs need: manifests and documents."""
    return f"transforms/{deployment}/"


def outputs_of(key: str, prefix: str) -> tuple[str, ...]:
    """Where the result of an object may lie, below the output, likeliest first.

    AWS's guide says its name and `.out`; its API reference shows the input's own
    prefix before that.
    """
    _, inside = split_uri(prefix)
    return (f"{key}.out", f"{inside}{key}.out")


def tar_uri(config: DeployConfig) -> str:
    """What `model stage --tar` writes: the prefix's own name, in one file."""
    return weights_uri(config).rstrip("/") + TAR


def transform_model_from(config: DeployConfig, identity: Identity) -> Model:
    """The model of jobs. Batch transform refuses one with a ModelDataSource."""
    table = config.transform
    is_pulled = config.model.source == "s3" and table.weights == "pull"
    environment = {
        "MODEL_ID": config.model.id,
        "MODEL_REVISION": revision_of(config),
        "SERVE_USE": "batch",
        **{n: v for n, v in config.endpoint.environment.items() if n != DEADLINE},
    }
    if is_pulled:
        environment["MODEL_S3_URI"] = weights_uri(config)
    is_tar = config.model.source == "s3" and not is_pulled
    return Model(
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
    """The folder that whoever wrote `uri` meant: s3://bucket/prefix/."""
    folder = uri if uri.endswith("/") else f"{uri}/"
    if all(each.startswith(folder) for each in uris):
        return folder
    bucket, key = split_uri(uri)
    # As it is: a key may begin with a slash, and hold two in a row.
    head, slash, _ = key.rpartition("/")
    return f"s3://{bucket}/{head}{slash}"
