"""Train the classifier of tiles that `handler.preprocess.page.tiles` evaluates.

    python -m bench.orientation.train --fonts FOLDER [FOLDER ...] --output tiles.npz

Renders pages of all scripts for which a font is found, cuts tiles out of them with
the code that serves, turns each tile four ways, and trains on one thread, so that a
machine with the same fonts and the same torch comes to the same weights.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import nn

from bench.orientation.pages import (
    FIGURES,
    LAYOUTS,
    degrade,
    render_figure,
    render_text,
    render_vertical,
)
from bench.orientation.scripts import SCRIPTS, fonts_of
from bench.report import say
from handler.preprocess.page.ink import find_ink
from handler.preprocess.page.tiles import NO_TEXT, NUM_CLASSES, TILE, cut_tiles

Tiles = npt.NDArray[np.uint8]

_TILES_OF_A_PAGE = 40
_LATIN_SHARE = 0.35
_BATCH = 512


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench.orientation.train")
    parser.add_argument("--fonts", type=Path, nargs="*", default=[])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tiles", type=Path, help="keep rendered tiles in this file")
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    if options.tiles and options.tiles.exists():
        with np.load(options.tiles) as arrays:
            tiles, has_text = arrays["tiles"], arrays["has_text"]
    else:
        tiles, has_text = render_tiles(options.seed, options.pages, options.fonts)
        if options.tiles:
            np.savez(options.tiles, tiles=tiles, has_text=has_text)
    say(f"{len(tiles):,} tiles, {has_text.mean():.1%} with text")
    network = train(tiles, has_text, options.epochs)
    np.savez_compressed(options.output, **weights_of(network))
    return 0


def render_tiles(
    seed: int, num_pages: int, folders: Sequence[Path]
) -> tuple[Tiles, npt.NDArray[np.bool_]]:
    """Return tiles of upright text and of none, and for each whether it has text."""
    rng = random.Random(seed)
    scripts = [script for script in SCRIPTS if fonts_of(script, folders)]
    found: list[Tiles] = []
    has_text: list[bool] = []
    for number in range(num_pages):
        image, is_text = _page(rng, scripts, folders)
        image = degrade(rng, image)
        scale = rng.uniform(0.45, 1.1)
        size = (
            max(TILE, int(image.width * scale)),
            max(TILE, int(image.height * scale)),
        )
        image = image.resize(size, Image.Resampling.BOX)
        tiles = cut_tiles(find_ink(image), _TILES_OF_A_PAGE)
        found.append((tiles * 255).astype(np.uint8))
        has_text += [is_text] * len(tiles)
        if number % 200 == 199:
            say(f"{number + 1} pages")
    return np.concatenate(found), np.array(has_text)


def _page(
    rng: random.Random, scripts: Sequence[str], folders: Sequence[Path]
) -> tuple[Image.Image, bool]:
    script = "latin" if rng.random() < _LATIN_SHARE else rng.choice(scripts)
    kind = rng.random()
    if kind < 0.14:
        return render_figure(rng, rng.choice(list(FIGURES))), False
    if script in ("chinese", "japanese") and rng.random() < 0.5:
        return render_vertical(rng, script, folders), True
    page = render_text(rng, rng.choice(list(LAYOUTS)), script, folders)
    if kind < 0.18:
        # Print of the other side that shows through.
        return ImageOps.mirror(page), False
    if kind < 0.3:
        # White on black text has an outline of ink, and its own look.
        return ImageOps.invert(page), True
    return page, True


class Network(nn.Module):
    """The network in torch; `classify` computes the same."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(1, 12, 5, 2),
                nn.Conv2d(12, 24, 3, 2),
                nn.Conv2d(24, 48, 3),
                nn.Conv2d(48, 64, 3),
                nn.Linear(64, NUM_CLASSES),
            ]
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in (12, 24, 48, 64))

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Logits (tiles, NUM_CLASSES) of tiles (tiles, TILE, TILE) between 0 and 1."""
        values = tiles[:, None]
        for number, layer in enumerate(self.layers[:4]):
            values = torch.relu(self.norms[number](layer(values)))
            if number == 2:
                values = torch.max_pool2d(values, 2)
        logits: torch.Tensor = self.layers[4](values.mean((2, 3)))
        return logits


def train(tiles: Tiles, has_text: npt.NDArray[np.bool_], num_epochs: int) -> Network:
    """Fit a network; one tile in twenty is held out for the printed accuracy."""
    network = Network()
    images, texts = torch.from_numpy(tiles), torch.from_numpy(has_text)
    is_held = torch.arange(len(images)) // _TILES_OF_A_PAGE % 20 == 0
    held, kept = torch.nonzero(is_held)[:, 0], torch.nonzero(~is_held)[:, 0]
    steps = num_epochs * (len(kept) // _BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, steps)
    for epoch in range(num_epochs):
        started, total = time.monotonic(), 0.0
        order = kept[torch.randperm(len(kept))]
        for start in range(0, len(order) - _BATCH + 1, _BATCH):
            chosen = order[start : start + _BATCH]
            turns = torch.randint(0, 4, (len(chosen),))
            inputs, labels = _turned(images[chosen], texts[chosen], turns)
            loss = nn.functional.cross_entropy(network(inputs), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        network.eval()
        with torch.no_grad():
            turns = torch.arange(len(held)) % 4
            inputs, labels = _turned(images[held], texts[held], turns)
            right = (network(inputs).argmax(1) == labels).float().mean()
        network.train()
        say(
            f"epoch {epoch + 1}: loss {total * _BATCH / len(order):.4f}, held-out "
            f"accuracy {right:.4f}, {time.monotonic() - started:.0f} s"
        )
    return network.eval()


def _turned(
    images: torch.Tensor, has_text: torch.Tensor, turns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each image turned by so many quarters clockwise, and its class."""
    inputs = images.float() / 255
    for turn in range(1, 4):
        chosen = turns == turn
        inputs[chosen] = torch.rot90(inputs[chosen], -turn, (1, 2))
    return inputs, torch.where(has_text, turns, NO_TEXT)


def weights_of(network: Network) -> dict[str, npt.NDArray[np.float16]]:
    """Return the weights in the layout and under the names that `classify` reads.

    Normalisation is folded into the convolution before it.
    """
    arrays = {}
    norms = [*network.norms, None]
    for number, (layer, norm) in enumerate(zip(network.layers, norms, strict=True), 1):
        weight, bias = layer.weight.detach(), layer.bias.detach()
        if norm is None:
            weight = weight.T
        else:
            scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
            bias = (bias - norm.running_mean) * scale + norm.bias.detach()
            weight = weight * scale[:, None, None, None]
            weight = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])
        arrays[f"w{number}"] = weight.numpy().astype(np.float16)
        arrays[f"b{number}"] = bias.numpy().astype(np.float16)
    return arrays


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
