"""Training of the model: `python -m mini.train`.

It goes through the stages of the curriculum, and can be stopped and resumed at any
time. The learning rate is constant after a short warm-up. The last run of a training
uses `--cool`, which lowers the rate to zero.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import Qwen3VLForConditionalGeneration

from mini.lessons import Lesson
from mini.model import model_config
from mini.pages import Domain, render_page
from mini.samples import Sampler, TrainingBatch, TrainingSample
from mini.tokenizer import build_tokenizer, number_tokens

__all__ = ["CURRICULUM", "CurriculumStage", "main"]

logger = logging.getLogger(__name__)

_WARMUP_STEPS = 150
_GAINS = (1.5, 1.0, 4.0)
"""Factors of the learning rate: matrices (Muon), other weights and the extra heads
(AdamW)."""
_WEIGHTS = {"reading": 1.0, "cells": 1.0, "layout": 0.5, "places": 0.5}
_CLIP = 1.0


@dataclass(frozen=True, slots=True)
class CurriculumStage:
    """Stage of the curriculum, which lasts until `until` pages were seen in total."""

    name: str
    until: int
    domain: Domain
    pages_a_step: int
    cells_only: bool = False


CURRICULUM = (
    CurriculumStage(
        "cells",
        20_000,
        Domain(widths=(256, 384), heights=(256, 384), max_characters=400),
        pages_a_step=16,
        cells_only=True,
    ),
    CurriculumStage("layout", 26_000, Domain(), pages_a_step=8, cells_only=True),
    CurriculumStage(
        "few lines",
        39_600,
        Domain(widths=(256, 320), heights=(160, 288), max_blocks=3, max_characters=70),
        pages_a_step=16,
    ),
    CurriculumStage("pages", 10_000_000, Domain(), pages_a_step=8),
)


class _Pages(IterableDataset[list[TrainingSample]]):
    """Endless data set with a list of samples for each step, after `start` pages."""

    def __init__(self, stage: CurriculumStage, start: int, seed: int) -> None:
        self._stage = stage
        self._start = start
        self._seed = seed

    def __iter__(self) -> Iterator[list[TrainingSample]]:
        torch.set_num_threads(1)
        sampler = Sampler(build_tokenizer())
        worker = torch.utils.data.get_worker_info()
        index, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        count = self._stage.pages_a_step
        # Pages of similar length share a step, which keeps the padding small.
        while True:
            rng = random.Random(f"{self._seed}/{self._start}/{index}")
            pool: list[TrainingSample] = []
            while len(pool) < 4 * count:
                page = render_page(rng, self._stage.domain)
                if page.blocks:
                    pool.append(sampler.make_sample(page))
            pool.sort(key=lambda sample: len(sample.tokens))
            steps = [pool[i : i + count] for i in range(0, len(pool), count)]
            rng.shuffle(steps)
            yield from steps
            index += stride


class _State:
    """State of a training: the model, its optimizers and the progress."""

    def __init__(self, device: torch.device, rate: float) -> None:
        self.device = device
        self.rate = rate
        tokenizer = build_tokenizer()
        model = Qwen3VLForConditionalGeneration(model_config(tokenizer))
        lesson = Lesson(model.float(), number_tokens(tokenizer))
        self.lesson = lesson.to(device).train()
        matrices: list[torch.nn.Parameter] = []
        others: list[torch.nn.Parameter] = []
        heads: list[torch.nn.Parameter] = []
        for name, parameter in self.lesson.named_parameters():
            if not name.startswith("model."):
                heads.append(parameter)
            elif "embed" in name or parameter.ndim != 2:
                others.append(parameter)
            else:
                matrices.append(parameter)
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                matrices, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
            ),
            *(
                torch.optim.AdamW(some, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
                for some in (others, heads)
            ),
        ]
        self.num_pages = 0
        self.num_steps = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []

    def save(self, path: Path) -> None:
        """Write the state to a file, which is replaced as a whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(
            {
                "lesson": self.lesson.state_dict(),
                "optimizers": [o.state_dict() for o in self.optimizers],
                "num_pages": self.num_pages,
                "num_steps": self.num_steps,
                "seconds": self.seconds,
                "history": self.history,
            },
            partial,
        )
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Replace this state by that of a file."""
        saved = torch.load(path, map_location=self.device)
        self.lesson.load_state_dict(saved["lesson"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.num_pages = saved["num_pages"]
        self.num_steps = saved["num_steps"]
        self.seconds = saved["seconds"]
        self.history = saved["history"]

    def start_from(self, checkpoint: Path) -> None:
        """Load the weights of a checkpoint; the optimizers and progress start anew."""
        model = Qwen3VLForConditionalGeneration.from_pretrained(checkpoint)
        self.lesson.model.load_state_dict(model.float().state_dict())

    def freeze_vision(self) -> None:
        """Freeze the vision encoder except for its mergers."""
        visual = self.lesson.model.model.visual
        for part in (visual.patch_embed, visual.pos_embed, visual.blocks):
            part.requires_grad_(False)

    def step(
        self, batches: Sequence[TrainingBatch], *, cells_only: bool, scale: float
    ) -> dict[str, float]:
        """Run an optimizer step over batches of like size; return the mean losses."""
        rate = self.rate * scale * min(1.0, (self.num_steps + 1) / _WARMUP_STEPS)
        for optimizer, gain in zip(self.optimizers, _GAINS, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = gain * rate
        means: dict[str, float] = {}
        for batch in batches:
            with torch.autocast(self.device.type, torch.bfloat16):
                losses = self._losses(batch, cells_only=cells_only)
                weighted = [_WEIGHTS[name] * value for name, value in losses.items()]
                loss = torch.stack(weighted).sum() / len(batches)
            loss.backward()
            for name, value in losses.items():
                means[name] = means.get(name, 0.0) + float(value.detach()) / len(
                    batches
                )
            self.num_pages += batch.num_pages
        torch.nn.utils.clip_grad_norm_(self.lesson.parameters(), _CLIP)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.num_steps += 1
        return means

    def _losses(
        self, batch: TrainingBatch, *, cells_only: bool
    ) -> dict[str, torch.Tensor]:
        if cells_only:
            return dict(
                zip(("cells", "layout"), self.lesson.vision_losses(batch), strict=True)
            )
        losses = self.lesson(batch)
        return {name: getattr(losses, name) for name in _WEIGHTS}


def _find_stage(num_pages: int, only: str | None) -> CurriculumStage:
    return next(
        stage
        for stage in CURRICULUM
        if (stage.name == only if only else num_pages < stage.until)
    )


def _train(
    state: _State,
    path: Path,
    *,
    minutes: float,
    cool: bool,
    workers: int,
    only: str | None,
    pages_a_batch: int,
) -> None:
    """Train until the time has passed or a signal arrives, and save the state.

    The state is also saved every four minutes. `only` is the name of the one stage to
    train; None follows the curriculum.
    """
    sampler = Sampler(build_tokenizer())
    started = time.monotonic()
    seconds_before = state.seconds
    saved_at = started
    means: dict[str, float] = {}
    stage: CurriculumStage | None = None
    steps: Iterator[list[TrainingSample]] = iter(())
    is_stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: is_stopped.set())
    while (elapsed := time.monotonic() - started) < 60 * minutes:
        if is_stopped.is_set():
            break
        if stage is not (current := _find_stage(state.num_pages, only)):
            stage = current
            logger.info("stage %r from page %d", stage.name, state.num_pages)
            steps = iter(
                DataLoader(
                    _Pages(stage, state.num_pages, seed=len(state.history)),
                    batch_size=None,
                    num_workers=workers,
                    prefetch_factor=4,
                    collate_fn=_identity,
                )
            )
        samples = next(steps)
        batches = [
            sampler.make_batch(samples[i : i + pages_a_batch]).to(state.device)
            for i in range(0, len(samples), pages_a_batch)
        ]
        scale = 1 - elapsed / (60 * minutes) if cool else 1.0
        losses = state.step(batches, cells_only=stage.cells_only, scale=scale)
        state.seconds = seconds_before + time.monotonic() - started
        for name, value in losses.items():
            means[name] = 0.98 * means.get(name, value) + 0.02 * value
        if state.num_steps % 50 == 0:
            entry = {
                "stage": stage.name,
                "pages": state.num_pages,
                "seconds": round(state.seconds),
                **{name: round(value, 4) for name, value in means.items()},
            }
            state.history.append(entry)
            logger.info("%s", json.dumps(entry))
        if time.monotonic() - saved_at > 240:
            state.save(path)
            saved_at = time.monotonic()
    state.save(path)


def _identity(sample: list[TrainingSample]) -> list[TrainingSample]:
    return sample


def main(arguments: list[str] | None = None) -> int:
    """Train for some minutes, save the state, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mini.train", description=__doc__)
    parser.add_argument(
        "--state",
        type=Path,
        default=Path("build/mini/state.pt"),
        help="file of the training state (default build/mini/state.pt)",
    )
    parser.add_argument(
        "--start", type=Path, help="checkpoint to start from if there is no state"
    )
    parser.add_argument(
        "--minutes", type=float, default=60, help="duration (default 60)"
    )
    parser.add_argument(
        "--cool", action="store_true", help="lower the learning rate to 0"
    )
    parser.add_argument(
        "--stage", help="train this stage (default: the one for the pages seen so far)"
    )
    parser.add_argument(
        "--frozen-vision",
        action="store_true",
        help="freeze the vision encoder, which makes a step a quarter faster",
    )
    parser.add_argument(
        "--pages-a-batch",
        type=int,
        default=4,
        help="pages per forward pass, limited by memory (default 4)",
    )
    parser.add_argument(
        "--rate", type=float, default=1.5e-3, help="learning rate (default 0.0015)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="number of processes that draw pages (default 1)",
    )
    parser.add_argument("--threads", type=int, help="number of torch threads")
    options = parser.parse_args(arguments)

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    state = _State(
        torch.device("cuda" if torch.cuda.is_available() else "cpu"), options.rate
    )
    if options.state.exists():
        state.load(options.state)
        logger.info("resuming from page %d", state.num_pages)
    elif options.start:
        state.start_from(options.start)
    if options.frozen_vision:
        state.freeze_vision()
    _train(
        state,
        options.state,
        minutes=options.minutes,
        cool=options.cool,
        workers=options.workers,
        only=options.stage,
        pages_a_batch=options.pages_a_batch,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
