"""Where the weights come from, and which model they are.

In this order: a folder, S3, the Hugging Face hub, the embedded `mini`. Fetches
to a cache; loads nothing.
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
from handler.weights.download import fetch_into
from handler.weights.manifest import PATTERNS, is_model_file, staged_at

__all__ = ["Source", "Weights", "fetch", "find_source"]

logger = logging.getLogger(__name__)

SAGEMAKER_MODEL_DIR = Path("/opt/ml/model")
MINI = Path(__file__).resolve().parents[2] / "model-store" / "mini"
MINI_ID = "mini"
PART_BYTES = 16 * 1024**2
"""Of a file from S3 in one request."""
_Fetched = tuple[Path, str | None, str | None]
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Source:
    """Weights that were named but may still be far away."""

    kind: str
    """folder, s3, hub or mini."""
    location: str
    revision: str | None = None

    @property
    def files(self) -> list[Path]:
        """The weights' files that are here already, in the order they are loaded."""
        if self.kind not in ("folder", "mini"):
            return []
        return sorted(Path(self.location).glob("*.safetensors"))

    @property
    def may_be_mini(self) -> bool:
        """Whether a processor might do: known only once the weights are here."""
        return self.kind in ("folder", "mini")


@dataclass(frozen=True, slots=True)
class Weights:
    """A folder with a checkpoint, and what it holds."""

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
    """The first place that is named, or ModelLoadError when that place is empty."""
    if settings.model_dir is not None:
        folder = Path(settings.model_dir)
        if not (folder / "config.json").is_file():
            raise ModelLoadError(
                f"MODEL_DIR is {folder}, which holds no config.json: "
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
            f"no weights were named and the embedded ones are not at {mini}: "
            "set MODEL_DIR, MODEL_S3_URI or MODEL_ID"
        )
    return Source("mini", str(mini))


def fetch(source: Source, settings: EngineSettings, cache: Path) -> Weights:
    """Download the weights if necessary, and check their sizes and headers.

    `cache` receives what comes from S3; the hub has a cache of its own. Raises
    ModelLoadError, also for incomplete files.
    """
    started = time.monotonic()
    revision = source.revision
    model_id = source.location
    if source.kind == "hub":
        path, revision = _from_hub(source)
    elif source.kind == "s3":
        path, staged_id, staged_revision = _from_s3(source.location, cache)
        model_id = settings.model_id or staged_id or source.location
        revision = revision or staged_revision
    else:
        path = Path(source.location)
        model_id = MINI_ID if source.kind == "mini" else settings.model_id or path.name
        revision = settings.model_revision if source.kind == "folder" else None
    config = _config(path)
    if not (files := list(path.glob("*.safetensors"))):
        raise ModelLoadError(f"{path} holds no *.safetensors")
    weights = Weights(
        path=path,
        model_id=model_id,
        revision=revision,
        profile=_profile(config, settings, model_id),
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


def _config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads((path / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{path}/config.json cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ModelLoadError(f"{path}/config.json is not a JSON object")
    return config


def _profile(
    config: Mapping[str, Any], settings: EngineSettings, model_id: str
) -> Profile:
    """The profile that was asked for, that the weights name, or that fits them."""
    model_type = config.get("model_type")
    name = settings.model_profile or config.get("chandra_profile")
    if name is not None and not isinstance(name, str):
        raise ModelLoadError(f"chandra_profile in config.json is {name!r}, not a name")
    if name is None:
        fitting = [p.name for p in PROFILES.values() if p.model_type == model_type]
        name = fitting[0] if fitting else None
    if name is None:
        raise ModelLoadError(
            f"{model_id} is of type {model_type}, which none of the profiles "
            f"{', '.join(PROFILES)} describes"
        )
    if name not in PROFILES:
        raise ModelLoadError(
            f"unknown profile {name}; the profiles are {', '.join(PROFILES)}"
        )
    profile = PROFILES[name]
    if profile.model_type != model_type:
        raise ModelLoadError(
            f"{model_id} is of type {model_type}, but the profile {name} is for "
            f"{profile.model_type}: take another MODEL_PROFILE, or leave it out"
        )
    return profile


def _from_hub(source: Source) -> tuple[Path, str]:
    """A snapshot of one commit: a branch is pinned to the commit it names now."""
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
    except Exception as error:  # the client's transport, and its errors, vary
        raise ModelLoadError(
            f"{source.location} could not be fetched from the hub: {error}. "
            "Check MODEL_ID, MODEL_REVISION and HF_TOKEN, or set MODEL_DIR"
        ) from error
    return Path(path), str(revision)


def _from_s3(uri: str, cache: Path) -> _Fetched:
    """A folder with the weights, and what their manifest calls them.

    What is here already is not fetched again.
    """
    parts = urlsplit(uri)
    prefix = f"{key}/" if (key := parts.path.strip("/")) else ""
    # As much at once as there are threads: there is nobody to leave room for.
    objects = ObjectReader(window=NUM_THREADS, part_bytes=PART_BYTES)
    try:
        staged = staged_at(objects, Address(parts.netloc, prefix), is_model_file)
        if not staged.files:
            raise ModelLoadError(f"{uri} holds no config.json or *.safetensors")
        # Other contents, other folder: what is there is whole and the same.
        folder = cache / staged.digest[:16]
        fetch_into(objects, staged, folder)
    except ModelLoadError:
        raise
    except StorageError as error:
        # An engine that starts again needs nothing of S3 but a look.
        if (last := _last_fetched(uri, cache)) is None:
            raise ModelLoadError(
                f"{uri} could not be fetched: {error.detail}"
            ) from error
        logger.warning("weights of the last time", extra={"reason": error.detail})
        return last
    except (HandlerError, OSError) as error:
        reason = error.detail if isinstance(error, HandlerError) else error
        raise ModelLoadError(f"{uri} could not be fetched: {reason}") from error
    finally:
        objects.close()
    _note(uri, cache, (folder, staged.model, staged.revision))
    return folder, staged.model, staged.revision


def _last_fetched(uri: str, cache: Path) -> _Fetched | None:
    """What was fetched from there before, whole."""
    try:
        name, model, revision = json.loads(_note_of(uri, cache).read_text())
    except (OSError, ValueError):
        return None
    return cache / name, model, revision


def _note(uri: str, cache: Path, fetched: _Fetched) -> None:
    folder, *names = fetched
    partial = _note_of(uri, cache).with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps([folder.name, *names]))
    partial.rename(_note_of(uri, cache))


def _note_of(uri: str, cache: Path) -> Path:
    return cache / f".{hashlib.sha256(uri.encode()).hexdigest()[:16]}.last"
