"""Training samples, whose tensors equal those of the service."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from handler.engine.device.model import pixels_to_patches
from handler.postprocess.blocks.layout import CHANDRA_1_LABELS
from mini.pages import Domain, RenderedPage, render_page
from mini.samples import (
    CELL_SIDE,
    EDGE_STEPS,
    LOOKAHEAD,
    NO_CELL,
    NUM_SLOTS,
    SLOT_COLUMNS,
    Sampler,
)
from mini.tokenizer import build_tokenizer
from mini.truth import Piece, RenderedBlock
from mini.words import LATIN_CHARACTERS

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
    patches = pixels_to_patches(pixels, 16, 2, 2)
    # The service repeats an image for the two frames of a patch.
    single = patches.view(-1, 3, 2, 256)[:, :, 0].flatten(1)
    assert torch.allclose(batch.pixels[0].float(), single, atol=1e-2)
    assert batch.grid == (40, 32)


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
    domain = replace(SMALL, widths=(256, 256), heights=(256, 256))
    samples = [
        sampler.make_sample(render_page(random.Random(n), domain)) for n in range(4)
    ]
    batch = sampler.make_batch(samples)

    for row, sample in enumerate(samples):
        assert (batch.targets[row, len(sample.tokens) - 1 :] == -100).all()
        assert (batch.places[row, len(sample.tokens) :] == NO_CELL).all()


def test_place_of_a_letter_is_the_cell_of_its_centre(sampler, tokenizer):
    page = blank_page(256, 256, text_block(("x", 5, 5), ("q", 40, 5), ("z", 250, 250)))
    sample = sampler.make_sample(page)

    answer = sample.tokens[sample.num_prompt_tokens :]
    places = {
        tokenizer.id_to_token(token): place
        for token, place in zip(answer, sample.places, strict=True)
        if place != NO_CELL
    }

    columns = 256 // CELL_SIDE
    assert places["x"] == 0
    assert places["q"] == 1
    assert places["z"] == columns * columns - 1
    # Markup has the place of the next letter, and none at the end.
    assert places["0"] == places["1024"] == places["x"]
    assert "</div>" not in places


def test_slot_and_later_place_of_a_letter(sampler):
    letters = ("x", 5, 5), ("q", 31, 31), ("z", 70, 5), ("j", 100, 40)
    sample = sampler.make_sample(blank_page(256, 256, text_block(*letters)))

    first_letter = len(sample.places) - len(letters) - 2

    slots = sample.slots[first_letter : first_letter + len(letters)]
    assert slots == [1, NUM_SLOTS - 1, 1, 1 + SLOT_COLUMNS * 0]
    assert LOOKAHEAD == 3
    assert sample.later_places[first_letter] == 8 + 3


def test_letters_of_a_cell_are_in_their_slots(sampler):
    page = blank_page(
        256, 256, text_block(("d", 28, 24), ("b", 20, 6), ("a", 4, 7), ("c", 4, 25))
    )

    cell = sampler.make_sample(page).cells[0]

    letters = {
        slot: LATIN_CHARACTERS[index - 1] for slot, index in enumerate(cell) if index
    }
    assert letters == {1: "a", 5: "b", SLOT_COLUMNS + 1: "c", SLOT_COLUMNS + 7: "d"}


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
