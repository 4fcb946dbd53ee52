"""Models of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from deploy.errors import ConfigError, NotFoundError
from deploy.weights.files import is_weight

__all__ = ["Hub", "HubFile", "HubModel", "HuggingFace"]

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class HubFile:
    """File of a model as the hub lists it."""

    name: str
    size: int
    is_here: bool
    """True if the file is in the local cache."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """Model of the hub at a commit, with or without local files."""

    commit: str
    files: tuple[HubFile, ...]
    folder: Path
    """Folder of the local cache."""

    @property
    def missing_files(self) -> Sequence[HubFile]:
        """Files that a fetch would download."""
        return [file for file in self.files if not file.is_here]

    @property
    def weight_files(self) -> Sequence[HubFile]:
        """Files that would be staged."""
        return [f for f in self.files if is_weight(PurePosixPath(f.name))]


class Hub(Protocol):
    """Source of models."""

    def inspect(self, model: str, revision: str | None) -> HubModel:
        """Return the commit and the files of a model, without downloading them.

        Raises NotFoundError if the hub or the model cannot be reached.
        """
        ...

    def fetch(self, model: str, revision: str | None) -> tuple[Path, str]:
        """Download the files that the cache lacks; return the folder and the commit.

        Raises NotFoundError if the hub or the model cannot be reached.
        """
        ...


class HuggingFace:
    """Hugging Face hub, with the token and the cache that its library finds."""

    def inspect(self, model: str, revision: str | None) -> HubModel:
        def list_files(hub: Any) -> HubModel:
            commit = _resolve_commit(hub, model, revision)
            downloads = hub.snapshot_download(model, revision=commit, dry_run=True)
            files = tuple(
                HubFile(file.filename, file.file_size or 0, not file.will_download)
                for file in downloads
            )
            folder = Path(hub.constants.HF_HUB_CACHE)
            return HubModel(commit, files, folder)

        return _call_hub(model, list_files)

    def fetch(self, model: str, revision: str | None) -> tuple[Path, str]:
        def fetch_snapshot(hub: Any) -> tuple[Path, str]:
            commit = _resolve_commit(hub, model, revision)
            return Path(hub.snapshot_download(model, revision=commit)), commit

        return _call_hub(model, fetch_snapshot)


def _resolve_commit(hub: Any, model: str, revision: str | None) -> str:
    return str(hub.HfApi().model_info(model, revision=revision).sha)


def _call_hub(model: str, request: Callable[[Any], Result]) -> Result:
    """Call `request` with the library of the hub; its errors become NotFoundError."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ConfigError(
            "fetching from the hub needs huggingface_hub",
            hint="pip install huggingface_hub, or --from FOLDER",
        ) from error
    try:
        return request(huggingface_hub)
    except Exception as error:
        # The client's HTTP library, and so its errors, has changed twice.
        raise NotFoundError(
            f"{model} cannot be fetched from the hub: {error}",
            hint="chandra-sagemaker model stage --from FOLDER",
        ) from error
