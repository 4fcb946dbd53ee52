"""Images in ECR: the repository, what lies in it, and blobs put there by hand."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.actions import Call
from deploy.archive import Archive
from deploy.aws.account import tags_from
from deploy.aws.client import AWSClient
from deploy.config import DeployConfig
from deploy.errors import DeployError, NotFoundError
from deploy.manifest import DOCKER, is_index, platform_digest, repaired
from deploy.resources import OWNER_TAG, ImageAddress, tag_list, tags_of

__all__ = ["ImageState", "Registry", "image_at", "lifecycle_policy"]

PART_BYTES = 10 * 1024 * 1024
CUDA_LABEL = "chandra.cuda-version"


@dataclass(frozen=True, slots=True)
class ImageState:
    """One image as the registry has it."""

    tag: str
    digest: str
    media_type: str
    size: int

    @property
    def is_taken_by_sagemaker(self) -> bool:
        return self.media_type == DOCKER


def download(address: str) -> bytes:
    """A small blob, from the address that ECR signs for it."""
    if not address.startswith("https://"):
        raise ValueError("ECR signs https addresses")
    with urllib.request.urlopen(address, timeout=20) as answer:
        content: bytes = answer.read(1 << 20)
    return content


class Registry:
    """One repository."""

    def __init__(
        self,
        aws: AWSClient,
        config: DeployConfig,
        *,
        download: Callable[[str], bytes] = download,
    ) -> None:
        self._aws = aws
        self._download = download
        self._config = config
        self.name = config.image.repository

    def missing(self) -> list[Call]:
        """What makes the repository as it should be; nothing where it is.

        Of a repository that was there before us, the rule for old images is not ours
        to set: it deletes them.
        """
        tags = self._tags()
        calls = [self._create()] if tags is None else []
        is_ours = tags is None or tags.get(OWNER_TAG) == self._config.name
        if is_ours and self._lifecycle() != lifecycle_policy(self._config.image.keep):
            calls.append(
                Call(
                    "ecr",
                    "put_lifecycle_policy",
                    {
                        "repositoryName": self.name,
                        "lifecyclePolicyText": json.dumps(
                            lifecycle_policy(self._config.image.keep)
                        ),
                    },
                    f"keep {self._config.image.keep} images in repository {self.name}",
                )
            )
        return calls

    def password(self) -> str:
        """For twelve hours; never to be printed."""
        answer = self._aws.call("ecr", "get_authorization_token")
        token = answer["authorizationData"][0]["authorizationToken"]
        return base64.b64decode(token).decode().partition(":")[2]

    def image(self, reference: str) -> ImageState:
        """By tag, or by digest."""
        return _image(self._aws, reference, repositoryName=self.name)

    def manifest(self, reference: str) -> dict[str, Any]:
        """By digest: asked by tag, ECR translates, and hides what it has."""
        answer = self._aws.call(
            "ecr",
            "batch_get_image",
            repositoryName=self.name,
            imageIds=[_identifier(reference)],
        )
        if not answer["images"]:
            raise NotFoundError(
                f"there is no image {reference} in {self.name}",
                hint="chandra-sagemaker image push",
            )
        content: dict[str, Any] = json.loads(answer["images"][0]["imageManifest"])
        return content

    def cuda(self, state: ImageState) -> str | None:
        """CUDA that the image says it was built for; None where it says nothing."""
        try:
            manifest = self.manifest(state.digest)
            if is_index(manifest):
                manifest = self.manifest(platform_digest(manifest))
            answer = self._aws.call(
                "ecr",
                "get_download_url_for_layer",
                repositoryName=self.name,
                layerDigest=manifest["config"]["digest"],
            )
            content = json.loads(self._download(answer["downloadUrl"]))
        except (DeployError, OSError, ValueError):
            # Not worth failing for: what chandra.toml says is compared instead.
            return None
        labels = content.get("config", {}).get("Labels") or {}
        found = labels.get(CUDA_LABEL)
        return str(found) if found else None

    def repair(self, state: ImageState) -> Call:
        """The same image under a Docker manifest, with a tag of its own."""
        manifest = self.manifest(state.digest)
        if is_index(manifest):
            manifest = self.manifest(platform_digest(manifest))
        name = state.tag
        if name == state.digest:
            # Nobody gave it a tag, and a digest is none.
            name = state.digest.removeprefix("sha256:")[:12]
        return self.put(repaired(manifest), f"{name}-v2s2")

    def put(self, manifest: Mapping[str, Any], tag: str) -> Call:
        text = json.dumps(manifest, separators=(",", ":"))
        return Call(
            "ecr",
            "put_image",
            {
                "repositoryName": self.name,
                "imageManifest": text,
                "imageDigest": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
                "imageManifestMediaType": DOCKER,
                "imageTag": tag,
            },
            f"put image {self.name}:{tag}",
            may_exist=True,
        )

    def upload(
        self, archive: Archive, progress: Callable[[int, int], None]
    ) -> dict[str, Any]:
        """Every blob that is not there; the manifest to put is the answer."""
        manifest = repaired(archive.manifest())
        blobs = archive.blobs(manifest)
        total = sum(blob.size for blob in blobs)
        done = 0
        for blob in blobs:
            if not self._has(blob.digest):
                for size in self._upload(archive, blob.digest):
                    done += size
                    progress(done, total)
            else:
                done += blob.size
                progress(done, total)
        return manifest

    def _tags(self) -> dict[str, str] | None:
        """None where there is no repository."""
        try:
            found = self._aws.call(
                "ecr", "describe_repositories", repositoryNames=[self.name]
            )
            arn = found["repositories"][0]["repositoryArn"]
            answer = self._aws.call("ecr", "list_tags_for_resource", resourceArn=arn)
        except NotFoundError:
            return None
        return tags_from(answer["tags"])

    def _has(self, digest: str) -> bool:
        answer = self._aws.call(
            "ecr",
            "batch_check_layer_availability",
            repositoryName=self.name,
            layerDigests=[digest],
        )
        return any(
            layer.get("layerAvailability") == "AVAILABLE"
            for layer in answer.get("layers", ())
        )

    def _upload(self, archive: Archive, digest: str) -> list[int]:
        begun = self._aws.call("ecr", "initiate_layer_upload", repositoryName=self.name)
        sizes, first = [], 0
        for part in archive.parts(digest, min(PART_BYTES, int(begun["partSize"]))):
            self._aws.call(
                "ecr",
                "upload_layer_part",
                repositoryName=self.name,
                uploadId=begun["uploadId"],
                partFirstByte=first,
                partLastByte=first + len(part) - 1,
                layerPartBlob=part,
            )
            first += len(part)
            sizes.append(len(part))
        self._aws.perform(
            Call(
                "ecr",
                "complete_layer_upload",
                {
                    "repositoryName": self.name,
                    "uploadId": begun["uploadId"],
                    "layerDigests": [digest],
                },
                f"complete {digest}",
                may_exist=True,
            )
        )
        return sizes

    def _create(self) -> Call:
        params: dict[str, Any] = {
            "repositoryName": self.name,
            "imageTagMutability": "IMMUTABLE",
            "imageScanningConfiguration": {"scanOnPush": True},
            "tags": tag_list(tags_of(self._config)),
        }
        if self._config.network.kms_key is not None:
            params["encryptionConfiguration"] = {
                "encryptionType": "KMS",
                "kmsKey": self._config.network.kms_key,
            }
        return Call(
            "ecr",
            "create_repository",
            params,
            f"create repository {self.name}: immutable tags, scanned on push",
            may_exist=True,
        )

    def _lifecycle(self) -> dict[str, Any] | None:
        try:
            answer = self._aws.call(
                "ecr", "get_lifecycle_policy", repositoryName=self.name
            )
        except NotFoundError:
            return None
        content: dict[str, Any] = json.loads(answer["lifecyclePolicyText"])
        return content


def image_at(aws: AWSClient, address: ImageAddress) -> ImageState:
    """An image in any account's registry."""
    return _image(
        aws,
        address.digest,
        registryId=address.account,
        repositoryName=address.repository,
    )


def _image(aws: AWSClient, reference: str, **where: str) -> ImageState:
    try:
        answer = aws.call(
            "ecr", "describe_images", imageIds=[_identifier(reference)], **where
        )
    except NotFoundError as error:
        raise NotFoundError(
            f"there is no image {reference} in {where['repositoryName']}",
            hint="chandra-sagemaker image push",
        ) from error
    detail = answer["imageDetails"][0]
    tags = detail.get("imageTags") or [reference]
    return ImageState(
        # One image may have several: the one that was asked for.
        tag=reference if reference in tags else tags[0],
        digest=detail["imageDigest"],
        media_type=detail.get("imageManifestMediaType", ""),
        size=int(detail.get("imageSizeInBytes", 0)),
    )


def lifecycle_policy(keep: int) -> dict[str, Any]:
    """The newest images stay."""
    return {
        "rules": [
            {
                "rulePriority": 1,
                "description": f"keep {keep} images",
                "selection": {
                    "tagStatus": "any",
                    "countType": "imageCountMoreThan",
                    "countNumber": keep,
                },
                "action": {"type": "expire"},
            }
        ]
    }


def _identifier(reference: str) -> dict[str, str]:
    kind = "imageDigest" if reference.startswith("sha256:") else "imageTag"
    return {kind: reference}
