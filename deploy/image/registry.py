"""Images in an ECR repository: their state, push and repair."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from deploy.aws.client import AWSClient
from deploy.config import DeployConfig
from deploy.errors import DeployError, NotFoundError
from deploy.image.configuration import Configuration, parse_configuration
from deploy.image.manifest import (
    DOCKER,
    describe_platforms,
    find_platform_digest,
    is_index,
    to_docker_manifest,
)
from deploy.plan.actions import Call
from deploy.resources import ImageAddress

__all__ = [
    "ImageContents",
    "ImageState",
    "Registry",
    "compute_digest",
    "describe_image",
    "read_contents",
    "repository_params",
]

PUSH_HINT = "chandra-sagemaker image push"
MAX_BLOB_BYTES = 4 * 1024 * 1024
# Local test servers such as moto have no certificate.
SAFE_ADDRESS = re.compile(r"https://|http://127\.0\.0\.1[:/]")


@dataclass(frozen=True, slots=True)
class ImageState:
    """Image in the registry."""

    tag: str
    """One of its tags; the digest if it has none."""
    digest: str
    media_type: str
    size: int

    @property
    def has_docker_manifest(self) -> bool:
        """True if SageMaker can read the manifest."""
        return self.media_type == DOCKER

    @property
    def name(self) -> str:
        """Suffix to the repository: ":v1", or "@sha256:…" without a tag."""
        return f"@{self.digest}" if self.tag == self.digest else f":{self.tag}"


@dataclass(frozen=True, slots=True)
class ImageContents:
    """Configuration of an image in a registry, or why it could not be read."""

    configuration: Configuration | None
    """None if it could not be read."""
    reason: str | None = None
    """Why it could not be read."""
    hint: str | None = None
    """What to do about it."""
    child: str | None = None
    """Digest of the linux/amd64 image if the reference is an index."""

    @property
    def runs_on_sagemaker(self) -> bool:
        """False only for an image that is known to be for another platform."""
        return self.configuration is None or self.configuration.runs_on_sagemaker


def download_blob(address: str) -> bytes:
    """Download a blob from an address that ECR has signed, at most 4 MiB of it.

    Raises ValueError if the address is not https, and OSError.
    """
    if SAFE_ADDRESS.match(address) is None:
        raise ValueError("the registry gave an address that is not https")
    with urllib.request.urlopen(address, timeout=20) as answer:
        content: bytes = answer.read(MAX_BLOB_BYTES)
    return content


class Registry:
    """ECR repository of a deployment."""

    def __init__(self, aws: AWSClient, config: DeployConfig) -> None:
        self._aws = aws
        self.name = config.image.repository

    def get_password(self) -> str:
        """Return a password that is valid for twelve hours; never print it."""
        answer = self._aws.call("ecr", "get_authorization_token")
        token = answer["authorizationData"][0]["authorizationToken"]
        return base64.b64decode(token).decode().partition(":")[2]

    def read_manifest(self, reference: str) -> dict[str, Any]:
        """Return the manifest with a digest; raises NotFoundError if it is missing.

        By tag, ECR may return a converted manifest instead of the stored one.
        """
        repository = {"repositoryName": self.name}
        answer = self._aws.call(
            "ecr",
            "batch_get_image",
            imageIds=[_image_identifier(reference)],
            **repository,
        )
        return _first_manifest(answer, reference, repository)

    def plan_repair(self, state: ImageState) -> Call:
        """Return the call that stores the same image with a Docker manifest.

        The new manifest gets the tag of the image with the suffix `-v2s2`. Raises
        NotFoundError for an index without linux/amd64.
        """
        manifest = self.read_manifest(state.digest)
        if is_index(manifest):
            manifest = self.read_manifest(find_platform_digest(manifest))
        name = state.tag
        if name == state.digest:
            # The image has no tag, and a digest is not a valid one.
            name = state.digest.removeprefix("sha256:")[:12]
        return self.plan_put(to_docker_manifest(manifest), f"{name}-v2s2")

    def plan_put(self, manifest: Mapping[str, Any], tag: str) -> Call:
        """Return the call that stores a manifest with a tag."""
        text = _to_json(manifest)
        return Call(
            "ecr",
            "put_image",
            {
                "repositoryName": self.name,
                "imageManifest": text,
                "imageDigest": compute_digest(manifest),
                "imageManifestMediaType": DOCKER,
                "imageTag": tag,
            },
            f"put image {self.name}:{tag}",
            may_exist=True,
        )


def compute_digest(manifest: Mapping[str, Any]) -> str:
    """Return the digest that ECR gives a manifest."""
    return f"sha256:{hashlib.sha256(_to_json(manifest).encode()).hexdigest()}"


def repository_params(address: ImageAddress) -> dict[str, str]:
    """Return the parameters that name an image's repository, in any account."""
    return {"registryId": address.account, "repositoryName": address.repository}


def _to_json(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, separators=(",", ":"))


def read_contents(
    aws: AWSClient,
    digest: str,
    repository: Mapping[str, str],
    download_blob: Callable[[str], bytes] = download_blob,
) -> ImageContents:
    """Return the configuration of an image, or the reason why it cannot be read.

    `repository` has the parameters that name the repository in a call of ECR.
    """
    child = None
    try:
        answer = aws.call(
            "ecr", "batch_get_image", imageIds=[_image_identifier(digest)], **repository
        )
        manifest = _first_manifest(answer, digest, repository)
        if is_index(manifest):
            try:
                child = find_platform_digest(manifest)
            except NotFoundError:
                return ImageContents(Configuration(describe_platforms(manifest)))
            answer = aws.call(
                "ecr",
                "batch_get_image",
                imageIds=[_image_identifier(child)],
                **repository,
            )
            manifest = _first_manifest(answer, child, repository)
        if "config" not in manifest:
            return ImageContents(None, "its manifest names none", PUSH_HINT, child)
        answer = aws.call(
            "ecr",
            "get_download_url_for_layer",
            layerDigest=manifest["config"]["digest"],
            **repository,
        )
        content = json.loads(download_blob(answer["downloadUrl"]))
    except DeployError as error:
        return ImageContents(None, error.message, error.hint, child)
    except (OSError, HTTPException, ValueError, KeyError) as error:
        # Some of these errors repeat the address, which is signed.
        sentence = f"{type(error).__name__} while its configuration was fetched"
        hint = "check the network and its proxy, then the same command again"
        return ImageContents(None, sentence, hint, child)
    if not isinstance(content, dict):
        return ImageContents(None, "it is not a JSON object", PUSH_HINT, child)
    return ImageContents(parse_configuration(content), child=child)


def _first_manifest(
    answer: Mapping[str, Any], reference: str, repository: Mapping[str, str]
) -> dict[str, Any]:
    """Return the manifest in ECR's answer; raises NotFoundError if there is none."""
    if not answer["images"]:
        raise NotFoundError(
            f"there is no image {reference} in {repository['repositoryName']}",
            hint=PUSH_HINT,
        )
    content: dict[str, Any] = json.loads(answer["images"][0]["imageManifest"])
    return content


def describe_image(
    aws: AWSClient, reference: str, prefer: str | None = None, **repository: str
) -> ImageState:
    """Return the state of an image; raises NotFoundError if there is no such image.

    `reference` is its tag or digest. `repository` has the parameters that name the
    repository. Of several tags, the state names `reference` or `prefer`.
    """
    try:
        answer = aws.call(
            "ecr",
            "describe_images",
            imageIds=[_image_identifier(reference)],
            **repository,
        )
    except NotFoundError as error:
        raise NotFoundError(
            f"there is no image {reference} in {repository['repositoryName']}",
            hint=PUSH_HINT,
        ) from error
    detail = answer["imageDetails"][0]
    tags = detail.get("imageTags") or [reference]
    return ImageState(
        tag=next((str(t) for t in (reference, prefer) if t in tags), str(tags[0])),
        digest=detail["imageDigest"],
        media_type=detail.get("imageManifestMediaType", ""),
        size=int(detail.get("imageSizeInBytes", 0)),
    )


def _image_identifier(reference: str) -> dict[str, str]:
    kind = "imageDigest" if reference.startswith("sha256:") else "imageTag"
    return {kind: reference}
