"""Small container images, as registries and archives store them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.aws import AWSClient
from deploy.image.manifest import DOCKER, to_docker_manifest
from deploy.image.repository import plan_repository
from tests.deploy.accounts import configured

REPOSITORY = "chandra-torchserve"
OCI = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = gzip.compress(b"a layer" * 1000, mtime=0)


def image_config(
    platform: str = "linux/amd64",
    *,
    labels: dict[str, str] | None = None,
    env: Sequence[str] = (),
) -> bytes:
    """Return the configuration of an image, as Docker writes it."""
    system, _, machine = platform.partition("/")
    content = {
        "os": system,
        "architecture": machine,
        "config": {"Labels": labels, "Env": list(env)},
    }
    return json.dumps(content).encode()


CONFIG = image_config(labels={"chandra.cuda-version": "12.8"})


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def encoded(manifest: dict[str, Any]) -> bytes:
    return json.dumps(manifest).encode()


def oci_manifest(
    layer_type: str = "tar+gzip", config: bytes = CONFIG
) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(config),
            "size": len(config),
        },
        "layers": [
            {
                "mediaType": f"application/vnd.oci.image.layer.v1.{layer_type}",
                "digest": digest(LAYER),
                "size": len(LAYER),
                "annotations": {"of": "no use"},
            }
        ],
        "annotations": {"org.opencontainers.image.created": "today"},
    }


def docker_digest(config: bytes) -> str:
    """Return the digest of the Docker manifest that a push makes for an archive."""
    manifest = to_docker_manifest(oci_manifest(config=config))
    return digest(json.dumps(manifest, separators=(",", ":")).encode())


def oci_index(*entries: tuple[str, str, str]) -> dict[str, Any]:
    """Return an OCI index of (os, architecture, digest)."""
    return {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {
                "mediaType": OCI,
                "digest": name,
                "size": 1,
                "platform": {"os": system, "architecture": machine},
            }
            for system, machine, name in entries
        ],
    }


def put_image(
    aws: AWSClient,
    manifest: dict[str, Any],
    tag: str,
    media_type: str = DOCKER,
    *,
    name: str | None = None,
    config: bytes = CONFIG,
) -> str:
    """Put an image into the repository and return its digest.

    `name` replaces the digest, which moto does not check.
    """
    content = encoded(manifest)
    if "config" in manifest:
        put_blob(aws, config)
    aws.call(
        "ecr",
        "put_image",
        repositoryName=REPOSITORY,
        imageManifest=content.decode(),
        imageDigest=name or digest(content),
        imageManifestMediaType=media_type,
        imageTag=tag,
    )
    return name or digest(content)


def put_blob(aws: AWSClient, content: bytes) -> None:
    """Upload a layer or a configuration to the repository."""
    where = {"repositoryName": REPOSITORY}
    upload = aws.call("ecr", "initiate_layer_upload", **where)["uploadId"]
    aws.call(
        "ecr",
        "upload_layer_part",
        uploadId=upload,
        partFirstByte=0,
        partLastByte=len(content) - 1,
        layerPartBlob=content,
        **where,
    )
    aws.call(
        "ecr",
        "complete_layer_upload",
        uploadId=upload,
        layerDigests=[digest(content)],
        **where,
    )


def publish(aws: AWSClient, *uris: str) -> None:
    """Put Docker images at these addresses, in a repository of deployment `ocr`."""
    for call in plan_repository(aws, configured()):
        aws.perform(call)
    for number, uri in enumerate(uris):
        # moto treats two images with the same contents as one.
        manifest = to_docker_manifest(oci_manifest()) | {
            "annotations": {"number": number}
        }
        name = uri.partition("@")[2]
        put_image(aws, manifest, f"published-{number}", name=name)


def oci_files(
    config: bytes = CONFIG, *, tag: str | None = None, is_nested: bool = True
) -> dict[str, bytes]:
    """Return the files of an OCI archive of one layer, with a nested index."""
    manifest = encoded(oci_manifest(config=config))
    blobs = [manifest, config, LAYER]
    entry: dict[str, Any] = {"mediaType": OCI, "digest": digest(manifest), "size": 1}
    if is_nested:
        inner = encoded(oci_index(("linux", "amd64", digest(manifest))))
        entry = {"mediaType": OCI_INDEX, "digest": digest(inner), "size": 1}
        blobs.append(inner)
    if tag is not None:
        entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
    files = {"index.json": encoded({"schemaVersion": 2, "manifests": [entry]})}
    files |= {"blobs/" + digest(blob).replace(":", "/"): blob for blob in blobs}
    return files


def packed(files: Mapping[str, bytes], *, format: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a tar file with these members."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def write_archive(
    path: Path, config: bytes = CONFIG, *, tag: str | None = None
) -> Path:
    """Write an OCI archive of one layer."""
    path.write_bytes(packed(oci_files(config, tag=tag)))
    return path
