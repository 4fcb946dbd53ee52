"""Forward pass of the training, which equals that of transformers."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration

from mini.model import model_config
from mini.network import Network
from mini.tokenizer import build_tokenizer

GRID = (6, 8)
NUM_CELLS = GRID[0] * GRID[1] // 4
IMAGE_START = 3
BATCH_SIZE = 2


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    return Qwen3VLForConditionalGeneration(model_config(build_tokenizer())).float()


@pytest.fixture(scope="module")
def patches():
    return torch.rand(BATCH_SIZE, GRID[0] * GRID[1], 768)


@pytest.fixture(scope="module")
def image(patches):
    """Patches and grids as transformers takes them, with two equal frames."""
    frames = patches.view(-1, 3, 1, 256).expand(-1, -1, 2, -1)
    return frames.flatten(1), torch.tensor([[1, *GRID]] * BATCH_SIZE)


@torch.no_grad()
def test_image_features_equal_those_of_transformers(model, patches, image):
    features = Network(model, torch.float32).encode_images(patches, GRID)

    expected = model.model.visual(image[0], grid_thw=image[1])
    pairs = zip(
        [features.merged, *features.deepstack],
        [expected.pooler_output, *expected.deepstack_features],
        strict=True,
    )
    for actual, reference in pairs:
        assert torch.allclose(actual.flatten(0, 1), reference, atol=1e-4)


@torch.no_grad()
def test_hidden_states_equal_those_of_transformers(model, patches, image):
    network = Network(model, torch.float32)
    tokens = torch.randint(0, 250, (BATCH_SIZE, IMAGE_START + NUM_CELLS + 9))
    tokens[:, IMAGE_START : IMAGE_START + NUM_CELLS] = model.config.image_token_id
    layers = []

    hidden = network.read(
        tokens,
        network.encode_images(patches, GRID),
        image_start=IMAGE_START,
        grid=GRID,
        keep_scores=lambda layer, scores: None,
        keep_hidden=lambda layer, states: layers.append(layer),
    )

    expected = model.model(
        input_ids=tokens,
        pixel_values=image[0],
        image_grid_thw=image[1],
        mm_token_type_ids=(tokens == model.config.image_token_id).int(),
        use_cache=False,
    ).last_hidden_state
    assert torch.allclose(hidden, expected, atol=1e-4)
    assert layers == list(range(6))
