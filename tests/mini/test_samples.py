"""Training samples, whose tensors equal those of the service."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from handler.engine.device.model import pixels_to_patches
from handler.postprocess.blocks.layout import CHANDRA_1_LABELS
from mini.pages import Domain, RenderedPage, render_page
from mini.samples import CELL_SIDE, CHARACTERS_PER_CELL, EDGE_STEPS, NO_CELL, Sampler
from mini.tokenizer import build_tokenizer
from mini.truth import Piece, RenderedBlock
from mini.words import CHARACTERS

SMALL = Domain(widths=(256, 300), heights=(256, 300), max_blocks=2, max_characters=50)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def sampler(tokenizer):
    return Sampler(tokenizer)


def blank_page(width: int, height: int, *blocks: RenderedBlock) -> RenderedPage:
    from PIL import Image

    return RenderedPage(Image.new("RGB", (width, height), "white"), list(blocks))


def text_block(*letters: tuple[str, float, float]) -> RenderedBlock:
    return RenderedBlock(
        "Text", (0, 0, 256, 256), [Piece(c, (x, y)) for c, x, y in letters]
    )


def test_patches_equal_those_of_the_service(sampler):
    page = render_page(random.Random(1), Domain(widths=(512, 512), heights=(640, 640)))
    sample = sampler.make_sample(page)

    batch = sampler.make_batch([sample])

    pixels = torch.from_numpy(np.array(page.image))
    assert torch.allclose(batch.pixels, pixels_to_patches(pixels, 16, 2, 2), atol=1e-6)
    assert batch.grids.tolist() == [[1, 40, 32]]


def test_targets_are_the_answer_and_the_end_token(sampler, tokenizer):
    page = render_page(random.Random(2), SMALL)
    batch = sampler.make_batch([sampler.make_sample(page)])

    targets = batch.targets[0][batch.targets[0] != -100].tolist()

    assert tokenizer.decode(targets[:-1]) == page.html
    assert tokenizer.id_to_token(targets[-1]) == "<|im_end|>"


def test_targets_are_shifted_by_one_token(sampler):
    batch = sampler.make_batch(
        [sampler.make_sample(render_page(random.Random(2), SMALL))]
    )

    has_target = batch.targets[0, :-1] != -100

    assert torch.equal(
        batch.targets[0, :-1][has_target], batch.tokens[0, 1:][has_target]
    )


def test_padding_has_no_target_and_no_place(sampler):
    samples = [
        sampler.make_sample(render_page(random.Random(n), SMALL)) for n in range(4)
    ]
    batch = sampler.make_batch(samples)

    for row, sample in enumerate(samples):
        assert (batch.targets[row, len(sample.tokens) - 1 :] == -100).all()
        assert (batch.places[row, len(sample.tokens) :] == NO_CELL).all()


def test_place_of_a_letter_is_the_cell_of_its_centre(sampler, tokenizer):
    page = blank_page(256, 256, text_block(("a", 5, 5), ("b", 40, 5), ("c", 250, 250)))
    sample = sampler.make_sample(page)

    answer = sample.tokens[sample.num_prompt_tokens :]
    places = {
        tokenizer.id_to_token(token): place
        for token, place in zip(answer, sample.places, strict=True)
        if place != NO_CELL
    }

    columns = 256 // CELL_SIDE
    assert places["a"] == 0
    assert places["b"] == 1
    assert places["c"] == columns * columns - 1
    # Opening markup has the place of the first letter, closing markup of the last.
    assert places["0"] == places["1024"] == places["a"]
    assert places["</div>"] == places["c"]


def test_letters_of_a_cell_are_in_reading_order(sampler):
    page = blank_page(
        256, 256, text_block(("d", 28, 24), ("b", 20, 6), ("a", 4, 7), ("c", 4, 25))
    )

    cell = sampler.make_sample(page).cells[0]

    letters = [CHARACTERS[index - 1] for index in cell if index]
    assert "".join(letters) == "abcd"
    assert cell[4:].tolist() == [0] * (CHARACTERS_PER_CELL - 4)


def test_layout_has_the_blocks_and_edges_of_each_cell(sampler):
    upper = RenderedBlock("Text", (0, 0, 128, 20), [Piece("a", (5, 5))])
    lower = RenderedBlock("Table", (0, 26, 256, 128), [Piece("b", (5, 30))])

    layout = sampler.make_sample(blank_page(256, 256, upper, lower)).layout

    text, table = (CHANDRA_1_LABELS.index(name) + 1 for name in ("Text", "Table"))
    assert layout[0].tolist() == [
        [text, 0, 0, EDGE_STEPS / 2, EDGE_STEPS * 20 / 256],
        [table, 0, EDGE_STEPS * 26 / 256, EDGE_STEPS, EDGE_STEPS / 2],
    ]
    # Right of the text there is only the table, and below both there is no block.
    assert layout[7, :, 0].tolist() == [table, 0]
    assert layout[-1, :, 0].tolist() == [0, 0]


def test_resized_page_has_resized_places(sampler):
    page = blank_page(250, 262, text_block(("z", 249, 261)))

    sample = sampler.make_sample(page)

    rows, columns = sample.grid
    assert set(sample.places) == {rows * columns // 4 - 1, NO_CELL}
