"""Small images, as registries and archives hold them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from deploy.aws import AWSClient
from deploy.aws.repository import repository_calls
from deploy.image.manifest import DOCKER, repaired
from tests.deploy.accounts import configured

REPOSITORY = "chandra-torchserve"
OCI = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = json.dumps({"architecture": "amd64", "os": "linux"}).encode()
LAYER = gzip.compress(b"a layer" * 1000, mtime=0)


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def encoded(manifest: dict[str, Any]) -> bytes:
    return json.dumps(manifest).encode()


def oci_manifest(layer_type: str = "tar+gzip") -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(CONFIG),
            "size": len(CONFIG),
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


def oci_index(*entries: tuple[str, str, str]) -> dict[str, Any]:
    """Of (os, architecture, digest)."""
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
) -> str:
    """Into our repository; its digest, for which moto takes whatever it is told."""
    content = encoded(manifest)
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


def publish(aws: AWSClient, *uris: str) -> None:
    """Docker images at these addresses, in a repository of deployment `ocr`."""
    for call in repository_calls(aws, configured()):
        aws.perform(call)
    for number, uri in enumerate(uris):
        # To moto two of the same contents are one.
        manifest = repaired(oci_manifest()) | {"annotations": {"number": number}}
        name = uri.partition("@")[2]
        put_image(aws, manifest, f"published-{number}", name=name)


def write_archive(path: Path) -> Path:
    """An OCI archive of one layer, its index nested once, as docker save does."""
    manifest = encoded(oci_manifest())
    inner = encoded(oci_index(("linux", "amd64", digest(manifest))))
    outer = {
        "schemaVersion": 2,
        "manifests": [{"mediaType": OCI_INDEX, "digest": digest(inner), "size": 1}],
    }
    files = {"index.json": encoded(outer)}
    for blob in (manifest, inner, CONFIG, LAYER):
        files["blobs/" + digest(blob).replace(":", "/")] = blob
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path
