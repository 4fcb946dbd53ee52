"""Time from the start of the server until it is ready: `python -m bench.cold_start`.

The result is a ratio to the time of one read of the same files. The weights have
several gigabytes and are not in the page cache. They are random, which does not affect
the time to load them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForImageTextToText

from bench.report import finish, say
from handler.weights.manifest import MANIFEST
from handler.weights.source import MINI
from server.archive import ROOT, build_archive
from server.host import find_free_addresses
from server.plugin import find_plugin
from server.torchserve import TorchServe

GIB = 1024**3
SHARD_BYTES = GIB
PART_BYTES = 4 * 1024**2
NUM_THREADS = 8


def main() -> None:
    """Write random weights, measure several rounds, and print the best ratio."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start")
    parser.add_argument(
        "--gib", type=float, default=8.0, help="size of the weights (default 8)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="number of rounds (default 3)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cold-start-") as scratch:
        weights = Path(scratch, "weights")
        num_bytes = write_checkpoint(weights, int(options.gib * GIB))
        say(f"{num_bytes / GIB:.1f} GiB of random weights in {weights}")
        build_archive(ROOT / "model-store")
        rounds = [measure_start(weights) for _ in range(options.rounds)]
    # Take the best of several rounds, because other load only adds time.
    read_seconds = min(read for read, _, _ in rounds)
    ready_seconds = min(ready for _, ready, _ in rounds)
    memory_bytes = max(memory for _, _, memory in rounds)
    say(
        f"reading {read_seconds:.1f} s ({num_bytes / read_seconds / 1e9:.2f} GB/s), "
        f"ready after {ready_seconds:.1f} s, "
        f"{memory_bytes / GIB:.1f} GiB of memory for {num_bytes / GIB:.1f} GiB"
    )
    ratios = {
        "start_to_ready_vs_reading": round(ready_seconds / read_seconds, 3),
        "memory_vs_weights": round(memory_bytes / num_bytes, 3),
    }
    finish("cold_start", ratios)


def measure_start(weights: Path) -> tuple[float, float, int]:
    """Read the weights once, then start a server with them and stop it.

    Return the seconds of the read, the seconds until the server was ready, and the
    engine's memory in bytes. The page cache is emptied before each of the two.
    """
    files = sorted(weights.glob("*.safetensors"))
    drop_from_page_cache(files)
    read_seconds = time_read(files)
    drop_from_page_cache(files)
    started = time.monotonic()
    with TorchServe(
        overrides=find_free_addresses(),
        environ={**os.environ, "MODEL_DIR": str(weights), "HF_HUB_OFFLINE": "1"},
        plugin=find_plugin(),
    ) as server:
        server.wait_until_ready()
        ready_seconds = time.monotonic() - started
        memory_bytes = sum(_unique_bytes(pid) for pid in server.read_engine_pids())
    say(f"  reading {read_seconds:.1f} s, ready after {ready_seconds:.1f} s")
    return read_seconds, ready_seconds, memory_bytes


def time_read(files: list[Path]) -> float:
    """Read the files in parallel parts, and return the seconds that it took."""
    parts = [
        (file, start)
        for file in files
        for start in range(0, file.stat().st_size, PART_BYTES)
    ]
    started = time.monotonic()
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        for _ in threads.map(_read, parts):
            pass
    return time.monotonic() - started


def _read(part: tuple[Path, int]) -> None:
    file, start = part
    with file.open("rb", buffering=0) as opened:
        opened.seek(start)
        opened.read(PART_BYTES)


def drop_from_page_cache(files: list[Path]) -> None:
    """Write the files to storage, and drop them from the page cache."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def write_checkpoint(folder: Path, num_bytes: int) -> int:
    """Write a model like mini with random weights, and return their number of bytes.

    `folder` must not exist. The model has about `num_bytes`, but at least four layers.
    """
    # Leave out the manifest, which has the sizes of mini's files.
    left_out = shutil.ignore_patterns("*.safetensors", MANIFEST)
    shutil.copytree(MINI, folder, ignore=left_out)
    config = AutoConfig.from_pretrained(MINI)
    text = config.text_config
    text.hidden_size, text.intermediate_size = 2048, 8192
    text.num_attention_heads, text.num_key_value_heads = 32, 8
    config.vision_config.out_hidden_size = text.hidden_size
    layer = 2 * (text.hidden_size * (3 * text.intermediate_size + 80 * text.head_dim))
    text.num_hidden_layers = max(4, round(num_bytes / layer))
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:1] * text.num_hidden_layers
    config.save_pretrained(folder)
    saved = json.loads((folder / "config.json").read_text())
    saved |= {"chandra_profile": "mini", "chandra_weights": "random"}
    (folder / "config.json").write_text(json.dumps(saved))
    with torch.device("meta"):
        module = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    index: dict[str, str] = {}
    for number, shard in enumerate(_shards(module)):
        name = f"model-{number:05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        index |= dict.fromkeys(shard, name)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _shards(module: torch.nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    noise = torch.randn(2048 * 8192).mul_(0.02).to(torch.bfloat16)
    shard: dict[str, torch.Tensor] = {}
    for name, parameter in module.named_parameters():
        tensor = torch.empty(parameter.shape, dtype=torch.bfloat16)
        flat = tensor.view(-1)
        for start in range(0, flat.numel(), noise.numel()):
            part = flat[start : start + noise.numel()]
            part.copy_(noise[: part.numel()])
        shard[name] = tensor
        if sum(value.nbytes for value in shard.values()) >= SHARD_BYTES:
            yield shard
            shard = {}
    if shard:
        yield shard


def _unique_bytes(pid: int) -> int:
    """Return the memory that only this process uses (USS), without the page cache."""
    return int(psutil.Process(pid).memory_full_info().uss)


if __name__ == "__main__":
    main()
