"""State of endpoints, transform jobs and image layers that the shim simulates."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.deploy.aws_http import Environ, Response, error_response

__all__ = [
    "LAYERS",
    "ImageLayers",
    "RunTransform",
    "SimulatedEndpoint",
    "SimulatedJob",
]

RunTransform = Callable[[dict[str, Any]], str | None]
"""Returns the FailureReason of a job, or None if it completed."""
LAYERS = "/layers/"
"""Path of the download URLs of layers."""


@dataclass
class SimulatedEndpoint:
    """State of an endpoint, of which moto knows only that it is in service."""

    config: str
    status: str = "Creating"
    pending: str | None = None
    failure: str | None = None
    num_descriptions: int = 0
    """Number of descriptions since the change began."""
    count: int | None = None
    """Number of instances, if it differs from the endpoint config."""
    pending_count: int | None = None


@dataclass
class SimulatedJob:
    """State of a transform job, which moto never runs."""

    request: dict[str, Any]
    status: str = "InProgress"
    failure: str | None = None
    num_descriptions: int = 0
    ended: float = 0.0

    def describe_once(
        self,
        num_descriptions: int,
        run: RunTransform | None,
        clock: Callable[[], float],
    ) -> None:
        """Count a description of the job; end a job that was described often enough.

        A running job is then run with `run`. Without `run` it completes.
        """
        if self.status not in ("InProgress", "Stopping"):
            return
        self.num_descriptions += 1
        if self.num_descriptions <= num_descriptions:
            return
        if self.status == "Stopping":
            self.status, self.ended = "Stopped", clock()
            return
        self.failure = run(self.request) if run else None
        self.status = "Failed" if self.failure else "Completed"
        self.ended = clock()


class ImageLayers:
    """Image layers by digest, because moto stores only their sizes."""

    def __init__(self) -> None:
        self._uploads: dict[str, bytes] = {}
        self._layers: dict[str, bytes] = {}

    def content(self, path: str) -> bytes:
        """Return the layer at the path of a download URL."""
        return self._layers[path.removeprefix(LAYERS)]

    def answer(
        self, environ: Environ, call: str, request: dict[str, Any]
    ) -> Response | None:
        """Store an uploaded layer, or return its download URL.

        Return None if moto answers the call.
        """
        upload = request.get("uploadId", "")
        if call == "ecr:UploadLayerPart":
            part = base64.b64decode(request["layerPartBlob"])
            self._uploads[upload] = self._uploads.get(upload, b"") + part
        elif call == "ecr:CompleteLayerUpload":
            content = self._uploads.pop(upload, b"")
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            self._layers[digest] = content
        elif call == "ecr:GetDownloadUrlForLayer":
            digest = request["layerDigest"]
            if digest not in self._layers:
                return error_response(
                    "LayersNotFoundException", f"there is no {digest}"
                )
            address = f"http://{environ['HTTP_HOST']}{LAYERS}{digest}"
            return "200 OK", {"downloadUrl": address, "layerDigest": digest}
        return None
