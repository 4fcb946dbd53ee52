"""Source, download and profile of the weights.

Sources are tried in this order: a folder, S3, the Hugging Face hub, and the embedded
model `mini`. Weights are downloaded to a cache here, and loaded elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from handler.errors import HandlerError, ModelLoadError, StorageError
from handler.profiles import PROFILES, Profile
from handler.settings import EngineSettings
from handler.storage.addresses import Address
from handler.storage.s3 import NUM_THREADS, ObjectReader
from handler.weights.checkpoint import check_checkpoint
from handler.weights.download import download_weights
from handler.weights.manifest import PATTERNS, find_staged_weights, is_model_file

__all__ = ["LocalWeights", "Source", "fetch", "find_source"]

logger = logging.getLogger(__name__)

SAGEMAKER_MODEL_DIR = Path("/opt/ml/model")
MINI = Path(__file__).resolve().parents[2] / "model-store" / "mini"
MINI_ID = "mini"
PART_BYTES = 16 * 1024**2
"""Bytes of a file that one request to S3 reads."""
_FetchedFolder = tuple[Path, str | None, str | None]
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Source:
    """Configured location of the weights, which may have to be downloaded first."""

    kind: str
    """folder, s3, hub or mini."""
    location: str
    revision: str | None = None

    @property
    def files(self) -> list[Path]:
        """Weight files that are already on this machine, in loading order."""
        if self.kind not in ("folder", "mini"):
            return []
        return sorted(Path(self.location).glob("*.safetensors"))

    @property
    def may_be_mini(self) -> bool:
        """True if the weights can be those of `mini`, which also runs on a CPU.

        The profile is known only after a download, but `mini` is always local.
        """
        return self.kind in ("folder", "mini")


@dataclass(frozen=True, slots=True)
class LocalWeights:
    """Folder with a complete checkpoint, its profile and its names in responses."""

    path: Path
    model_id: str
    revision: str | None
    profile: Profile
    num_bytes: int
    is_trained: bool = True


def find_source(
    settings: EngineSettings,
    *,
    sagemaker_model_dir: Path = SAGEMAKER_MODEL_DIR,
    mini: Path = MINI,
) -> Source:
    """Return the first configured source; see the module for the order.

    Raises ModelLoadError if that source is a folder without a model or not a valid S3
    URI, or if no source is configured and there is no embedded model.
    """
    if settings.model_dir is not None:
        folder = Path(settings.model_dir)
        if not (folder / "config.json").is_file():
            raise ModelLoadError(
                f"MODEL_DIR is {folder}, which has no config.json: "
                "point it at a folder with config.json, the tokenizer and *.safetensors"
            )
        return Source("folder", str(folder))
    if (sagemaker_model_dir / "config.json").is_file():
        return Source("folder", str(sagemaker_model_dir))
    if settings.model_s3_uri is not None:
        parts = urlsplit(settings.model_s3_uri)
        if parts.scheme != "s3" or not parts.netloc:
            raise ModelLoadError(
                f"MODEL_S3_URI must be s3://bucket/prefix, not {settings.model_s3_uri}"
            )
        return Source("s3", settings.model_s3_uri, settings.model_revision)
    if settings.model_id not in (None, MINI_ID):
        return Source("hub", str(settings.model_id), settings.model_revision)
    if not (mini / "config.json").is_file():
        raise ModelLoadError(
            f"no weights are configured and the embedded ones are not at {mini}: "
            "set MODEL_DIR, MODEL_S3_URI or MODEL_ID"
        )
    return Source("mini", str(mini))


def fetch(source: Source, settings: EngineSettings, cache: Path) -> LocalWeights:
    """Download the weights if necessary, and check their sizes and headers.

    Weights from S3 are stored in `cache`; the hub's client has a cache of its own. The
    result is logged, and so is a warning if the revision is a branch of the hub. Raises
    ModelLoadError if the download fails, or if files are incomplete or do not belong to
    a known profile.
    """
    started = time.monotonic()
    revision = source.revision
    model_id = source.location
    if source.kind == "hub":
        path, revision = _fetch_from_hub(source)
    elif source.kind == "s3":
        path, staged_id, staged_revision = _fetch_from_s3(source.location, cache)
        model_id = settings.model_id or staged_id or source.location
        revision = revision or staged_revision
    else:
        path = Path(source.location)
        model_id = MINI_ID if source.kind == "mini" else settings.model_id or path.name
        revision = settings.model_revision if source.kind == "folder" else None
    config = _read_config(path)
    if not (files := list(path.glob("*.safetensors"))):
        raise ModelLoadError(f"{path} has no *.safetensors")
    weights = LocalWeights(
        path=path,
        model_id=model_id,
        revision=revision,
        profile=_choose_profile(config, settings, model_id),
        num_bytes=sum(file.stat().st_size for file in files),
        is_trained=config.get("chandra_weights") != "random",
    )
    check_checkpoint(path)
    logger.info(
        "weights found",
        extra={
            "source": source.kind,
            "model_id": model_id,
            "revision": revision,
            "bytes": weights.num_bytes,
            "seconds": round(time.monotonic() - started, 3),
        },
    )
    return weights


def _read_config(path: Path) -> Mapping[str, Any]:
    """Return config.json of a folder; raise ModelLoadError if it is no JSON object."""
    try:
        config = json.loads((path / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{path}/config.json cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ModelLoadError(f"{path}/config.json is not a JSON object")
    return config


def _choose_profile(
    config: Mapping[str, Any], settings: EngineSettings, model_id: str
) -> Profile:
    """Return the configured profile, else the weights' own, else one of their type.

    Raises ModelLoadError if there is none, or if it is for another type of model.
    """
    model_type = config.get("model_type")
    name = settings.model_profile or config.get("chandra_profile")
    if name is not None and not isinstance(name, str):
        raise ModelLoadError(
            f"chandra_profile in config.json must be a name, not {name!r}"
        )
    if name is None:
        fitting = [p.name for p in PROFILES.values() if p.model_type == model_type]
        name = fitting[0] if fitting else None
    if name is None:
        raise ModelLoadError(
            f"{model_id} has the model type {model_type}, for which there is no "
            f"profile; the profiles are {', '.join(PROFILES)}"
        )
    if name not in PROFILES:
        raise ModelLoadError(
            f"unknown profile {name}; the profiles are {', '.join(PROFILES)}"
        )
    profile = PROFILES[name]
    if profile.model_type != model_type:
        raise ModelLoadError(
            f"{model_id} has the model type {model_type}, but the profile {name} is "
            f"for {profile.model_type}: set another MODEL_PROFILE, or unset it"
        )
    return profile


def _fetch_from_hub(source: Source) -> tuple[Path, str]:
    """Download a snapshot of one commit; return its folder and the commit.

    A branch, or no revision, is resolved to its current commit first, which is logged
    as a warning. Raises ModelLoadError.
    """
    from huggingface_hub import HfApi, snapshot_download

    revision = source.revision
    try:
        if revision is None or not _COMMIT.fullmatch(revision):
            revision = HfApi().model_info(source.location, revision=revision).sha
            logger.warning(
                "revision pinned for this run only",
                extra={
                    "model_id": source.location,
                    "set": f"MODEL_REVISION={revision}",
                },
            )
        path = snapshot_download(
            source.location, revision=revision, allow_patterns=list(PATTERNS)
        )
    except Exception as error:  # its transport, and thus its errors, vary by version
        raise ModelLoadError(
            f"{source.location} could not be fetched from the hub: {error}. "
            "Check MODEL_ID, MODEL_REVISION and HF_TOKEN, or set MODEL_DIR"
        ) from error
    return Path(path), str(revision)


def _fetch_from_s3(uri: str, cache: Path) -> _FetchedFolder:
    """Download the weights; return their folder, and the manifest's model and revision.

    Files that are already in the folder are not downloaded again. If S3 cannot be read,
    returns the weights that were last downloaded from `uri`. Raises ModelLoadError if
    there are none, and for any other failure.
    """
    parts = urlsplit(uri)
    prefix = f"{key}/" if (key := parts.path.strip("/")) else ""
    # Use every thread: during a start, no other download needs one.
    objects = ObjectReader(window=NUM_THREADS, part_bytes=PART_BYTES)
    try:
        staged = find_staged_weights(
            objects, Address(parts.netloc, prefix), is_model_file
        )
        if not staged.files:
            raise ModelLoadError(f"{uri} has no config.json or *.safetensors")
        # The folder is named by the contents, so files of other weights never mix.
        folder = cache / staged.digest[:16]
        download_weights(objects, staged, folder)
    except ModelLoadError:
        raise
    except StorageError as error:
        # An engine that starts again needs S3 only to check for changes.
        if (last := _read_last_fetch(uri, cache)) is None:
            raise ModelLoadError(
                f"{uri} could not be fetched: {error.detail}"
            ) from error
        logger.warning("cached weights used", extra={"reason": error.detail})
        return last
    except (HandlerError, OSError) as error:
        reason = error.detail if isinstance(error, HandlerError) else error
        raise ModelLoadError(f"{uri} could not be fetched: {reason}") from error
    finally:
        objects.close()
    _record_fetch(uri, cache, (folder, staged.model, staged.revision))
    return folder, staged.model, staged.revision


def _read_last_fetch(uri: str, cache: Path) -> _FetchedFolder | None:
    """Return the result of the last complete download from `uri`, if there was one."""
    try:
        name, model, revision = json.loads(_record_path(uri, cache).read_text())
    except (OSError, ValueError):
        return None
    return cache / name, model, revision


def _record_fetch(uri: str, cache: Path, fetched: _FetchedFolder) -> None:
    """Write the result of a complete download for `_read_last_fetch`."""
    folder, *names = fetched
    partial = _record_path(uri, cache).with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps([folder.name, *names]))
    partial.rename(_record_path(uri, cache))


def _record_path(uri: str, cache: Path) -> Path:
    return cache / f".{hashlib.sha256(uri.encode()).hexdigest()[:16]}.last"
