"""Training of the two networks of `handler.preprocess.page`.

    python -m bench.orientation.train tiles --fonts FOLDER ... --output tiles.npz
    python -m bench.orientation.train lines --fonts FOLDER ... --output lines.npz

It renders pages of all scripts for which there is a font, cuts tiles or parts of lines
out of them with the code that serves, rotates them, and trains on one thread. The same
fonts and the same releases of torch and Pillow give the same weights.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import nn

from bench.orientation.figures import FIGURES, render_figure
from bench.orientation.pages import LAYOUTS, degrade, render_text, render_vertical
from bench.orientation.scripts import SCRIPTS, find_fonts
from bench.report import say
from handler.preprocess.page.ink import find_ink
from handler.preprocess.page.lines import LINE_SIZE, cut_lines
from handler.preprocess.page.tiles import TILE, cut_tiles

Samples = npt.NDArray[np.uint8]

_SAMPLES_OF_A_PAGE = 40
_LATIN_SHARE = 0.35
_BATCH = 128
_NO_TEXT = 2


class Network(nn.Module):
    """Network of convolutions with normalisation, a mean, and a linear layer.

    `classify_tiles` and `classify_lines` compute the same with numpy.
    """

    def __init__(
        self,
        convolutions: Sequence[tuple[int, int, int]],
        pool_after: int,
        mean_over: tuple[int, ...],
        num_features: int,
    ) -> None:
        """Build the layers; `convolutions` has the (channels, side, stride) of each."""
        super().__init__()
        sizes = [1, *(size for size, _, _ in convolutions)]
        self.layers = [
            nn.Conv2d(channels, size, side, stride, bias=False)
            for channels, (size, side, stride) in zip(sizes, convolutions, strict=False)
        ]
        self.norms = [nn.BatchNorm2d(size) for size in sizes[1:]]
        # Plain lists are typed, but their parameters must be registered.
        self.parts = nn.ModuleList([*self.layers, *self.norms])
        self.last = nn.Linear(num_features, 3)
        self.pool_after, self.mean_over = pool_after, mean_over

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return logits (samples, 3) of (samples, rows, columns) between 0 and 1."""
        values = samples[:, None]
        layers = zip(self.layers, self.norms, strict=True)
        for number, (layer, norm) in enumerate(layers, 1):
            values = torch.relu(norm(layer(values)))
            if number == self.pool_after:
                values = torch.max_pool2d(values, 2)
        values = values.permute(0, 2, 3, 1).mean(self.mean_over)
        logits: torch.Tensor = self.last(values.flatten(1))
        return logits

    def weights(self) -> dict[str, npt.NDArray[np.float16]]:
        """Return the weights for `load_weights`, with the normalisation folded in."""
        arrays = {}
        for number, (layer, norm) in enumerate(
            zip(self.layers, self.norms, strict=True), 1
        ):
            mean, variance = norm.running_mean, norm.running_var
            assert mean is not None
            assert variance is not None
            scale = norm.weight.detach() / (variance + norm.eps).sqrt()
            weight = layer.weight.detach() * scale[:, None, None, None]
            weight = weight.permute(2, 3, 1, 0).reshape(-1, len(scale))
            arrays[f"w{number}"] = weight
            arrays[f"b{number}"] = norm.bias.detach() - mean * scale
        arrays[f"w{len(self.layers) + 1}"] = self.last.weight.detach().T
        arrays[f"b{len(self.layers) + 1}"] = self.last.bias.detach()
        return {
            name: array.numpy().astype(np.float16) for name, array in arrays.items()
        }


def tiles_network() -> Network:
    """Return the network of `classify_tiles`, untrained."""
    convolutions = ((12, 5, 2), (24, 3, 2), (48, 3, 1), (64, 3, 1))
    return Network(convolutions, pool_after=3, mean_over=(1, 2), num_features=64)


def lines_network() -> Network:
    """Return the network of `classify_lines`, untrained."""
    convolutions = ((12, 3, 1), (24, 3, 2), (48, 3, 1))
    rows = ((LINE_SIZE[1] - 2 - 3) // 2 + 1) // 2 - 2
    return Network(convolutions, pool_after=2, mean_over=(2,), num_features=48 * rows)


def main(arguments: Sequence[str]) -> int:
    """Train a network, write its weights, and return the exit status."""
    parser = argparse.ArgumentParser(prog="bench.orientation.train")
    parser.add_argument("network", choices=["tiles", "lines"], help="network to train")
    parser.add_argument(
        "--fonts", type=Path, nargs="*", default=[], help="folders of fonts"
    )
    parser.add_argument("--output", type=Path, required=True, help="output file (.npz)")
    parser.add_argument(
        "--pages", type=int, default=1600, help="rendered pages (default 1600)"
    )
    parser.add_argument("--epochs", type=int, default=12, help="epochs (default 12)")
    parser.add_argument("--seed", type=int, default=1, help="random seed (default 1)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    samples, has_text = render_samples(
        options.network, options.seed, options.pages, options.fonts
    )
    say(f"{len(samples):,} {options.network}, {has_text.mean():.1%} with text")
    network = tiles_network() if options.network == "tiles" else lines_network()
    train(network, samples, has_text, options.epochs)
    weights: dict[str, Any] = dict(network.weights())
    np.savez_compressed(options.output, **weights)
    return 0


def render_samples(
    kind: str, seed: int, num_pages: int, folders: Sequence[Path]
) -> tuple[Samples, npt.NDArray[np.bool_]]:
    """Return tiles or lines, and for each of them True if it has text."""
    rng = random.Random(seed)
    scripts = [script for script in SCRIPTS if find_fonts(script, folders)]
    batches: list[Samples] = []
    has_text: list[bool] = []
    for number in range(num_pages):
        image, is_text = _render_random_page(rng, scripts, folders)
        image = degrade(rng, image)
        scale = rng.uniform(0.45, 1.1)
        width, height = (max(TILE, int(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BOX)
        for samples, is_upright in _cut_samples(kind, image, is_text):
            batches.append((samples * 255).astype(np.uint8))
            has_text += [is_upright] * len(samples)
        if number % 200 == 199:
            say(f"{number + 1} pages")
    return np.concatenate(batches), np.array(has_text)


def _cut_samples(
    kind: str, image: Image.Image, is_text: bool
) -> Iterator[tuple[npt.NDArray[np.float32], bool]]:
    """Yield arrays of tiles or lines, each with True if they show upright text."""
    if kind == "tiles":
        yield cut_tiles(find_ink(image), _SAMPLES_OF_A_PAGE), is_text
        return
    yield cut_lines(find_ink(image), _SAMPLES_OF_A_PAGE), is_text
    # Letters on their sides look like vertical Japanese after a rotation.
    lying = image.transpose(Image.Transpose.ROTATE_90)
    yield cut_lines(find_ink(lying), _SAMPLES_OF_A_PAGE // 8), False


def _render_random_page(
    rng: random.Random, scripts: Sequence[str], folders: Sequence[Path]
) -> tuple[Image.Image, bool]:
    """Return a page, and True if it shows text that is not mirrored."""
    script = "latin" if rng.random() < _LATIN_SHARE else rng.choice(scripts)
    kind = rng.random()
    if kind < 0.14:
        return render_figure(rng, rng.choice(list(FIGURES))), False
    if script in ("chinese", "japanese") and rng.random() < 0.5:
        return render_vertical(rng, script, folders), True
    page = render_text(rng, rng.choice(list(LAYOUTS)), script, folders)
    if kind < 0.18:
        # Simulate text of the other side that shows through.
        return ImageOps.mirror(page), False
    return page, True


def train(
    network: Network,
    samples: Samples,
    has_text: npt.NDArray[np.bool_],
    num_epochs: int,
) -> None:
    """Train the network, and print the loss and accuracy of each epoch.

    About one page in twenty is held out for the accuracy.

    Tiles are rotated by quarter turns and lines by half turns. The classes are those of
    tiles.py and lines.py.
    """
    images, texts = torch.from_numpy(samples), torch.from_numpy(has_text)
    is_held = torch.arange(len(images)) // _SAMPLES_OF_A_PAGE % 20 == 0
    held, kept = torch.nonzero(is_held)[:, 0], torch.nonzero(~is_held)[:, 0]
    steps = num_epochs * (len(kept) // _BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 8e-3, steps)
    for epoch in range(num_epochs):
        started, total = time.monotonic(), 0.0
        order = kept[torch.randperm(len(kept))]
        for start in range(0, len(order) - _BATCH + 1, _BATCH):
            chosen = order[start : start + _BATCH]
            turns = torch.randint(0, 4, (len(chosen),))
            inputs, labels = _rotate(images[chosen], texts[chosen], turns)
            loss = nn.functional.cross_entropy(network(inputs), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        network.eval()
        with torch.no_grad():
            turns = torch.arange(len(held)) % 4
            inputs, labels = _rotate(images[held], texts[held], turns)
            right = (network(inputs).argmax(1) == labels).float().mean()
        network.train()
        say(
            f"epoch {epoch + 1}: loss {total * _BATCH / len(order):.4f}, held-out "
            f"accuracy {right:.4f}, {time.monotonic() - started:.0f} s"
        )
    network.eval()


def _rotate(
    images: torch.Tensor, has_text: torch.Tensor, turns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate images by quarter turns, lines by half turns; return the classes too."""
    inputs = images.float() / 255
    is_square = images.shape[1] == images.shape[2]
    for turn in range(1, 4):
        chosen = turns == turn
        quarters = -turn if is_square else 2 * turn
        inputs[chosen] = torch.rot90(inputs[chosen], quarters, (1, 2))
    return inputs, torch.where(has_text, turns % 2, _NO_TEXT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
