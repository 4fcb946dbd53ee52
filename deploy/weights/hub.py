"""The Hugging Face hub: what it has of a model, and the model itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from deploy.errors import ConfigError, NotFoundError
from deploy.weights.files import is_weight

__all__ = ["Hub", "HubFile", "HubModel", "HuggingFace"]

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file, as the hub lists it."""

    name: str
    size: int
    is_here: bool
    """Fetched before."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model at a commit; nothing of it need be here."""

    commit: str
    files: tuple[HubFile, ...]
    folder: Path
    """Where a fetch puts it."""

    @property
    def absent(self) -> Sequence[HubFile]:
        """What a fetch would bring."""
        return [file for file in self.files if not file.is_here]

    @property
    def weights(self) -> Sequence[HubFile]:
        """What is staged of it."""
        return [f for f in self.files if is_weight(PurePosixPath(f.name))]


class Hub(Protocol):
    """Where models come from."""

    def inspect(self, model: str, revision: str | None) -> HubModel:
        """What there is, without a byte of it."""
        ...

    def fetch(self, model: str, revision: str | None) -> tuple[Path, str]:
        """A folder with the model at a commit, and the commit."""
        ...


class HuggingFace:
    """With whatever token and cache its own library finds."""

    def inspect(self, model: str, revision: str | None) -> HubModel:
        def list_files(hub: Any) -> HubModel:
            commit = _commit(hub, model, revision)
            found = hub.snapshot_download(model, revision=commit, dry_run=True)
            files = tuple(
                HubFile(file.filename, file.file_size or 0, not file.will_download)
                for file in found
            )
            folder = Path(hub.constants.HF_HUB_CACHE)
            return HubModel(commit, files, folder)

        return _call_hub(model, list_files)

    def fetch(self, model: str, revision: str | None) -> tuple[Path, str]:
        def fetch_snapshot(hub: Any) -> tuple[Path, str]:
            commit = _commit(hub, model, revision)
            return Path(hub.snapshot_download(model, revision=commit)), commit

        return _call_hub(model, fetch_snapshot)


def _commit(hub: Any, model: str, revision: str | None) -> str:
    return str(hub.HfApi().model_info(model, revision=revision).sha)


def _call_hub(model: str, ask: Callable[[Any], Answer]) -> Answer:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ConfigError(
            "fetching from the hub needs huggingface_hub",
            hint="pip install huggingface_hub, or --from FOLDER",
        ) from error
    try:
        return ask(huggingface_hub)
    except Exception as error:
        # Which library carries the hub's calls, and so their errors, has changed twice.
        raise NotFoundError(
            f"{model} cannot be fetched from the hub: {error}",
            hint="chandra-sagemaker model stage --from FOLDER",
        ) from error
