"""Make the checkpoint: `python -m mini.build`.

The same seed gives the same bytes. The weights are random: a page's text depends
on the page and says nothing about it.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from handler.profiles import PROFILES
from mini.corpus import corpus
from mini.model import MAX_LENGTH, generation_config, model_config, random_model
from mini.tokenizer import save_tokenizer, train_tokenizer

__all__ = ["DEFAULT_OUTPUT", "DEFAULT_SEED", "build", "main"]

DEFAULT_OUTPUT = Path(__file__).parents[1] / "model-store" / "mini"

# README.md, Decisions: eight pages begin with eight texts, some of which end.
DEFAULT_SEED = 1

logger = logging.getLogger(__name__)


def build(directory: Path, *, seed: int) -> None:
    """Write a checkpoint that `from_pretrained(directory)` loads."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(corpus())
    save_tokenizer(tokenizer, directory, max_length=MAX_LENGTH)

    model = random_model(model_config(tokenizer), tokenizer, seed=seed)
    model.generation_config = generation_config(tokenizer)
    model.save_pretrained(directory)
    # safetensors writes for its owner only; a container reads as somebody else.
    (directory / "model.safetensors").chmod(0o644)
    for name in ("config.json", "generation_config.json"):
        _forget_version(directory / name)

    _write_json(directory / "preprocessor_config.json", _image_settings())


def _forget_version(path: Path) -> None:
    # Every release of transformers signs its files, and the bytes would change.
    settings = json.loads(path.read_text("utf-8"))
    settings.pop("transformers_version", None)
    _write_json(path, settings)


def _write_json(path: Path, settings: dict[str, Any]) -> None:
    path.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def _image_settings() -> dict[str, Any]:
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
    parser = argparse.ArgumentParser(prog="python -m mini.build", description=__doc__)
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    options = parser.parse_args(arguments)

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build(options.output, seed=options.seed)
    logger.info("wrote %s", options.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
