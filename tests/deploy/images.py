"""Small images, as registries and archives hold them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

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
