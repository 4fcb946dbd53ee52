"""Images in a repository of ECR: looked at, put there, and repaired."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.actions import Call
from deploy.aws.blobs import upload_blobs
from deploy.aws.client import AWSClient
from deploy.config import DeployConfig
from deploy.errors import DeployError, NotFoundError
from deploy.image.archive import Archive
from deploy.image.manifest import DOCKER, is_index, platform_digest, repaired
from deploy.resources import ImageAddress

__all__ = ["ImageState", "Registry", "image_at"]

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
        self.name = config.image.repository

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
        upload_blobs(self._aws, self.name, archive, archive.blobs(manifest), progress)
        return manifest


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


def _identifier(reference: str) -> dict[str, str]:
    kind = "imageDigest" if reference.startswith("sha256:") else "imageTag"
    return {kind: reference}
