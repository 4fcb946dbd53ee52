"""Build of the checkpoint from a training state: `python -m mini.build`.

The build is reproducible: the same training state gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import Qwen3VLForConditionalGeneration

from handler.profiles import PROFILES
from handler.weights.manifest import (
    MANIFEST,
    StagedFile,
    format_manifest,
    is_model_file,
)
from mini.model import MAX_LENGTH, generation_config, model_config
from mini.tokenizer import build_tokenizer, save_tokenizer

__all__ = ["DEFAULT_OUTPUT", "build", "main", "write_manifest"]

DEFAULT_OUTPUT = Path(__file__).parents[1] / "model-store" / "mini"

logger = logging.getLogger(__name__)


def build(state: Path, directory: Path) -> None:
    """Write a checkpoint that `from_pretrained(directory)` loads.

    `state` is a file of `mini.train`; only its model weights are used. `directory` is
    created, and its files are replaced.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    write_settings(directory, tokenizer)
    model = Qwen3VLForConditionalGeneration(model_config(tokenizer)).float()
    model.load_state_dict(_load_weights(state))
    model.generation_config = generation_config(tokenizer)
    model.bfloat16().save_pretrained(directory)
    # safetensors makes the file readable only by its owner, but a container reads it
    # as another user.
    (directory / "model.safetensors").chmod(0o644)
    for name in ("config.json", "generation_config.json"):
        _remove_version(directory / name)
    write_manifest(directory)


def write_manifest(directory: Path) -> None:
    """Write chandra-manifest.json with the sizes and SHA-256 of the checkpoint's files.

    The server checks the sizes when it starts; `chandra-sagemaker doctor --weights` and
    the tests check the hashes.
    """
    files = []
    for path in sorted(directory.iterdir()):
        if is_model_file(path.name):
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            files.append(StagedFile(path.name, len(content), "", digest))
    (directory / MANIFEST).write_text(format_manifest("mini", None, files), "utf-8")


def write_settings(directory: Path, tokenizer: Tokenizer) -> None:
    """Write the tokenizer and the image processor's settings."""
    save_tokenizer(tokenizer, directory, max_length=MAX_LENGTH)
    _write_json(directory / "preprocessor_config.json", _make_image_settings())


def _load_weights(state: Path) -> dict[str, torch.Tensor]:
    prefix = "model."
    lesson = torch.load(state, map_location="cpu")["lesson"]
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in lesson.items()
        if name.startswith(prefix)
    }


def _remove_version(path: Path) -> None:
    # transformers writes its version into the file, so the bytes would change with it.
    settings = json.loads(path.read_text("utf-8"))
    settings.pop("transformers_version", None)
    _write_json(path, settings)


def _write_json(path: Path, settings: dict[str, Any]) -> None:
    path.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def _make_image_settings() -> dict[str, Any]:
    sizing = PROFILES["mini"].sizing
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "size": {"shortest_edge": sizing.min_pixels, "longest_edge": sizing.max_pixels},
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }


def main(arguments: list[str] | None = None) -> int:
    """Build the checkpoint and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mini.build", description=__doc__)
    parser.add_argument(
        "--state",
        type=Path,
        default=Path("build/mini/state.pt"),
        help="training state (default build/mini/state.pt)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=DEFAULT_OUTPUT,
        help="folder of the checkpoint (default model-store/mini)",
    )
    options = parser.parse_args(arguments)

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build(options.state, options.output)
    logger.info("wrote %s", options.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
