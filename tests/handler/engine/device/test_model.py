"""Loading of models, and conversion of pages to model input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from bench.cold_start import GIB, write_checkpoint
from handler.engine.device.model import load_model, pixels_to_patches
from handler.errors import ModelLoadError
from handler.profiles import PROFILES
from handler.prompts import load_prompts
from handler.schema import Page
from handler.settings import EngineSettings
from handler.weights.source import MINI, LocalWeights, Source, fetch
from server.archive import ROOT

LOAD_PROGRAM = """
import re, sys
from pathlib import Path
from handler.engine.device.model import load_model
from handler.weights.read_ahead import ReadAhead
from handler.weights.source import Source, fetch
from handler.settings import EngineSettings

def measure_peak_bytes():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) * 1024

source = Source("folder", sys.argv[1])
weights = fetch(source, EngineSettings(), Path("unused"))
before = measure_peak_bytes()
model = load_model(weights, "cpu", 1, ReadAhead(source.files))
print(before, measure_peak_bytes())
"""
"""Program that prints the peak memory of its process before and after loading."""


@pytest.fixture(scope="module")
def weights() -> LocalWeights:
    return fetch(Source("mini", str(MINI)), EngineSettings(), Path("unused"))


@pytest.fixture(scope="module")
def model(weights):
    return load_model(weights, "cpu")


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    shape = (height, width, 3)
    pixels = numpy.random.default_rng(seed).integers(0, 256, shape, "uint8")
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(64, 64), (256, 320), (768, 1024), (1600, 2240)])
def test_patches_equal_those_of_the_image_processor(weights, size):
    processor = AutoImageProcessor.from_pretrained(weights.path)
    image = noise(*size)
    reference = processor(
        images=[image],
        return_tensors="pt",
        size={"shortest_edge": 1, "longest_edge": 100_000_000},
    )

    ours = pixels_to_patches(torch.from_numpy(numpy.array(image)), 16, 2, 2)

    assert ours.shape == reference["pixel_values"].shape
    assert (ours - reference["pixel_values"]).abs().max() < 1e-3
    grid = reference["image_grid_thw"][0].tolist()
    assert grid == [1, size[1] // 16, size[0] // 16]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("patch", "merge", "frames"), [(16, 2, 2), (8, 3, 1)])
def test_patches_equal_the_plain_formula_bit_for_bit(dtype, patch, merge, frames):
    side = patch * merge
    image = torch.from_numpy(numpy.array(noise(3 * side, 2 * side)))
    scaled = image.permute(2, 0, 1).to(torch.float32).div(127.5).sub(1.0)
    tiles = scaled.reshape(3, 2, merge, patch, 3, merge, patch)
    tiles = tiles.permute(1, 4, 2, 5, 0, 3, 6).unsqueeze(5)
    expected = tiles.expand(-1, -1, -1, -1, -1, frames, -1, -1).to(dtype)

    patches = pixels_to_patches(image, patch, merge, frames, dtype)

    assert patches.dtype == dtype
    assert torch.equal(patches, expected.reshape(patches.shape))


def test_loaded_model_has_no_convolution(model):
    kinds = {type(module) for module in model.module.modules()}

    assert not [kind for kind in kinds if issubclass(kind, torch.nn.Conv3d)]
    assert model.module.model.visual.patch_embed.proj.weight.dim() == 5


def test_weights_are_bfloat16_on_any_device(model):
    assert {parameter.dtype for parameter in model.module.parameters()} == {
        torch.bfloat16
    }


def test_prompt_equals_the_chat_template_of_the_checkpoint(model):
    prompt = load_prompts(PROFILES["mini"])["ocr_layout"]
    image = noise(64, 96)
    page = Page(1, 64, 96, 64, 96, image.tobytes())

    ours = model.prepare_inputs(page, prompt).input_ids.tolist()

    content = [{"type": "image"}, {"type": "text", "text": prompt}]
    template = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=False,
        add_generation_prompt=True,
    )
    once = model.tokenizer.encode(template, add_special_tokens=False)
    at = once.index(model.image_token_id)
    num_image_tokens = (64 // 32) * (96 // 32)
    assert (
        ours == once[:at] + [model.image_token_id] * num_image_tokens + once[at + 1 :]
    )


def test_stop_tokens_are_those_of_the_profile(model):
    names = [model.tokenizer.decode([token]) for token in model.stop_token_ids]

    assert names == list(PROFILES["mini"].stop_tokens)


def test_error_of_a_broken_checkpoint_names_its_path(weights, tmp_path):
    (tmp_path / "config.json").write_text((weights.path / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    broken = LocalWeights(tmp_path, "broken", None, PROFILES["mini"], 11)

    with pytest.raises(ModelLoadError, match=str(tmp_path)):
        load_model(broken, "cpu")


@pytest.mark.slow
def test_weights_are_held_in_memory_once(tmp_path):
    """Memory of read-ahead and mapped files does not count: the system can drop it."""
    num_bytes = write_checkpoint(tmp_path / "large", GIB // 4)

    result = subprocess.run(
        [sys.executable, "-c", LOAD_PROGRAM, tmp_path / "large"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )

    before, after = map(int, result.stdout.split())
    assert num_bytes > 400_000_000
    assert after - before < num_bytes / 2
