"""Training of the model: `python -m mini.train`.

Each run trains one stage of `mini.stages` for some minutes, in two processes with one
thread each, and stores the state. The next run continues from there.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import distributed
from torch.multiprocessing.spawn import spawn
from transformers import Qwen3VLForConditionalGeneration

from mini.build import DEFAULT_HEADS
from mini.lessons import Lesson
from mini.model import model_config
from mini.pages import render_page
from mini.samples import Sampler, TrainingSample
from mini.scans import resample_page
from mini.stages import STAGES, Stage
from mini.tokenizer import build_tokenizer, number_tokens

__all__ = ["main"]

logger = logging.getLogger(__name__)

_WARMUP_STEPS = 100
_GAINS = (1.5, 1.0, 2.0)
"""Factors of the learning rate: matrices (Muon), other weights and the extra heads
(AdamW)."""
_WEIGHTS = {"reading": 1.0, "cells": 1.0, "layout": 0.5, "places": 0.5, "slots": 0.3}
_CLIP = 1.0
_AVERAGE_DECAY = 0.998
_SAVE_SECONDS = 240.0
_MIN_BUFFER = 30
_MAX_BUFFER = 300
"""Number of batches in memory from which every second batch is drawn again."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Settings of one run."""

    state: Path
    stage: str
    minutes: float
    rate: float
    final_rate: float
    seed: int
    start: Path | None


class _State:
    """State of a training: the model, its optimizers and the progress."""

    def __init__(self) -> None:
        tokenizer = build_tokenizer()
        torch.manual_seed(1)
        model = Qwen3VLForConditionalGeneration(model_config(tokenizer))
        self.lesson = Lesson(model.float(), number_tokens(tokenizer)).train()
        matrices: list[torch.nn.Parameter] = []
        others: list[torch.nn.Parameter] = []
        heads: list[torch.nn.Parameter] = []
        for name, parameter in self.lesson.named_parameters():
            if not name.startswith("model."):
                heads.append(parameter)
            elif "embed" in name or "merge" in name or parameter.ndim != 2:
                others.append(parameter)
            else:
                matrices.append(parameter)
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                matrices, lr=1e-3, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
            ),
            *(
                torch.optim.AdamW(some, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
                for some in (others, heads)
            ),
        ]
        self.parameters = list(self.lesson.parameters())
        self.average = [p.detach().clone() for p in self.parameters]
        self.num_pages = 0
        self.num_steps = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []

    def save(self, path: Path) -> None:
        """Write the state to a file, which is replaced as a whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        names = [name for name, _ in self.lesson.named_parameters()]
        torch.save(
            {
                "lesson": self.lesson.state_dict(),
                "average": dict(zip(names, self.average, strict=True)),
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
        saved = torch.load(path)
        self.lesson.load_state_dict(saved["lesson"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.average = list(saved["average"].values())
        self.num_pages = saved["num_pages"]
        self.num_steps = saved["num_steps"]
        self.seconds = saved["seconds"]
        self.history = saved["history"]

    def start_from(self, checkpoint: Path) -> None:
        """Load the weights of a checkpoint and of the committed heads.

        The optimizers and the progress start anew.
        """
        model = Qwen3VLForConditionalGeneration.from_pretrained(checkpoint)
        self.lesson.model.load_state_dict(model.float().state_dict())
        self.lesson.load_state_dict(load_file(DEFAULT_HEADS), strict=False)
        self.average = [p.detach().clone() for p in self.parameters]

    def apply_gradients(self, rate: float) -> None:
        """Run a step of the optimizers with the mean gradient of all processes."""
        for optimizer, gain in zip(self.optimizers, _GAINS, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = gain * rate
        trained = [p for p in self.parameters if p.grad is not None]
        flat = torch.cat([p.grad.flatten() for p in trained])  # type: ignore[union-attr]
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
        flat *= (_CLIP / flat.norm().clamp(min=_CLIP)).item()
        offset = 0
        for parameter in trained:
            count = parameter.numel()
            parameter.grad = flat[offset : offset + count].view_as(parameter)
            offset += count
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        decay = min(_AVERAGE_DECAY, (1 + self.num_steps) / (10 + self.num_steps))
        with torch.no_grad():
            for average, parameter in zip(self.average, self.parameters, strict=True):
                average.lerp_(parameter, 1 - decay)
        self.num_steps += 1


def _draw_batches(
    stage: Stage, sampler: Sampler, rng: random.Random, sizes: random.Random
) -> Iterator[list[TrainingSample]]:
    """Yield lists of samples of equal size without end, each list several times.

    Drawing a page takes a third of the time of a step. `sizes` must be equal in all
    processes, so that their steps take equal time.
    """
    buffer: list[list[TrainingSample]] = []
    for batch in _draw_new_batches(stage, sampler, rng, sizes):
        yield batch
        if len(buffer) < _MAX_BUFFER:
            buffer.append(batch)
        else:
            buffer[sizes.randrange(_MAX_BUFFER)] = batch
        if len(buffer) > _MIN_BUFFER:
            yield from (sizes.choice(buffer) for _ in range(stage.num_repeats))


def _draw_new_batches(
    stage: Stage, sampler: Sampler, rng: random.Random, sizes: random.Random
) -> Iterator[list[TrainingSample]]:
    while True:
        part = sizes.choices(stage.parts, [part.weight for part in stage.parts])[0]
        width, height = sizes.choice(part.sizes)
        count = max(1, round(part.pixels_a_batch / (width * height)))
        # Pages of similar length share a batch, which keeps the padding small.
        pool: list[TrainingSample] = []
        num_batches = 1 if stage.vision_only else 4
        while len(pool) < num_batches * count:
            factor = rng.uniform(*part.factors) if rng.random() < 0.6 else 1.0
            sides = round(width / factor), round(height / factor)
            domain = replace(
                part.domain, widths=(sides[0], sides[0]), heights=(sides[1], sides[1])
            )
            page = render_page(rng, domain)
            if not page.blocks:
                continue
            if sides != (width, height):
                page = resample_page(rng, page, width, height)
            sample = sampler.make_sample(page)
            if len(sample.tokens) <= part.max_tokens:
                pool.append(sample)
        pool.sort(key=lambda sample: len(sample.tokens))
        batches = [pool[i : i + count] for i in range(0, len(pool), count)]
        sizes.shuffle(batches)
        yield from batches


def _run(rank: int, world_size: int, settings: RunSettings) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_PORT))
    distributed.init_process_group("gloo", rank=rank, world_size=world_size)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    state = _State()
    if settings.state.exists():
        state.load(settings.state)
    elif settings.start:
        state.start_from(settings.start)
    if rank == 0:
        logger.info("starting from page %d", state.num_pages)
    stage = STAGES[settings.stage]
    state.lesson.network.compile()
    sampler = Sampler(build_tokenizer())
    seed = f"{settings.seed}/{state.num_pages}"
    batches = _draw_batches(
        stage, sampler, random.Random(f"{seed}/{rank}"), random.Random(seed)
    )
    _train(state, stage, sampler, batches, settings, is_first=rank == 0)
    if rank == 0:
        state.save(settings.state)
    distributed.destroy_process_group()


def _train(
    state: _State,
    stage: Stage,
    sampler: Sampler,
    batches: Iterator[list[TrainingSample]],
    settings: RunSettings,
    *,
    is_first: bool,
) -> None:
    """Train until the time has passed or a signal arrives."""
    started = saved_at = time.monotonic()
    seconds_before = state.seconds
    means: dict[str, float] = {}
    stops = torch.zeros(1)
    signal.signal(signal.SIGTERM, lambda *_: stops.fill_(1))
    first_step = state.num_steps
    while True:
        elapsed = time.monotonic() - started
        is_over = (stops + (elapsed > 60 * settings.minutes)).clamp(max=1)
        distributed.all_reduce(is_over)
        if is_over.item():
            return
        progress = elapsed / (60 * settings.minutes)
        rate = settings.rate + (settings.final_rate - settings.rate) * progress
        rate *= min(1.0, (state.num_steps - first_step + 1) / _WARMUP_STEPS)
        samples = next(batches)
        losses = _compute_gradients(state, sampler, samples, stage)
        state.apply_gradients(rate)
        state.num_pages += distributed.get_world_size() * len(samples)
        state.seconds = seconds_before + time.monotonic() - started
        for name, value in losses.items():
            means[name] = 0.98 * means.get(name, value) + 0.02 * value
        if not is_first:
            continue
        if state.num_steps % 25 == 0:
            entry = {
                "stage": settings.stage,
                "pages": state.num_pages,
                "steps": state.num_steps,
                "seconds": round(state.seconds),
                **{name: round(value, 4) for name, value in means.items()},
            }
            state.history.append(entry)
            logger.info("%s", json.dumps(entry))
        if time.monotonic() - saved_at > _SAVE_SECONDS:
            state.save(settings.state)
            saved_at = time.monotonic()


def _compute_gradients(
    state: _State, sampler: Sampler, samples: list[TrainingSample], stage: Stage
) -> dict[str, float]:
    """Add the gradients of the samples, and return their mean losses.

    Few samples at a time fit into the cache of a core, which takes three quarters of
    the time of all at once.
    """
    rows, columns = samples[0].grid
    count = max(1, round(_PATCHES_AT_ONCE / (rows * columns)))
    chunks = [samples[i : i + count] for i in range(0, len(samples), count)]
    means: dict[str, float] = {}
    for chunk in chunks:
        batch = sampler.make_batch(chunk)
        losses = state.lesson(batch, vision_only=stage.vision_only).as_dict()
        share = len(chunk) / len(samples)
        weighted = [_WEIGHTS[name] * value for name, value in losses.items()]
        (share * torch.stack(weighted).sum()).backward()
        state.lesson.network.refresh_weights()
        for name, value in losses.items():
            means[name] = means.get(name, 0.0) + share * value.item()
    return means


_PATCHES_AT_ONCE = 8 * 256
_PORT = 29471


def main(arguments: list[str] | None = None) -> int:
    """Train for some minutes, save the state, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mini.train", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("build/mini/state.pt"))
    parser.add_argument("--start", type=Path)
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--final-rate", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    settings = RunSettings(
        state=options.state,
        stage=options.stage,
        minutes=options.minutes,
        rate=options.rate,
        final_rate=options.rate if options.final_rate is None else options.final_rate,
        seed=options.seed,
        start=options.start,
    )
    spawn(_run, (options.processes, settings), nprocs=options.processes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
