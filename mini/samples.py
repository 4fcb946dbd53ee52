"""Training samples: pages as tensors with their target tokens and positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from chandra.prompts import PROMPT_MAPPING
from PIL import Image
from tokenizers import Tokenizer

from handler.engine.device.model import pixels_to_patches
from handler.postprocess.blocks.layout import CHANDRA_1_LABELS
from handler.preprocess.sizing import target_size
from handler.profiles import PROFILES
from handler.prompts import chat
from mini.tokenizer import token_id
from mini.truth import Piece, Point, RenderedPage
from mini.words import LATIN_CHARACTERS

__all__ = [
    "BLOCKS_PER_CELL",
    "CELL_SIDE",
    "EDGE_STEPS",
    "NO_CELL",
    "NUM_CLASSES",
    "NUM_LABELS",
    "NUM_SLOTS",
    "Sampler",
    "TrainingBatch",
    "TrainingSample",
]

CELL_SIDE = 32
"""Side of a merged visual token in pixels."""
SLOT_ROWS = 2
SLOT_COLUMNS = 8
NUM_SLOTS = SLOT_ROWS * SLOT_COLUMNS
"""Number of parts of a cell. Each has at most one character, which is predicted."""
BLOCKS_PER_CELL = 2
"""Number of blocks to predict in a cell."""
EDGE_STEPS = 128
"""Number of steps per page side in which a block's edges are measured."""
NO_CELL = -1
LOOKAHEAD = 3
"""Number of letters between the two places that the model learns to look at."""

_PATCH = 16
_LENGTH_STEPS = (64, 256)
"""Steps of the length of a batch: up to 640 tokens, and above."""
_CLASSES = {character: index + 1 for index, character in enumerate(LATIN_CHARACTERS)}
NUM_CLASSES = len(LATIN_CHARACTERS) + 1
"""Class 0 is an empty slot."""
_LABELS = {label: index + 1 for index, label in enumerate(CHANDRA_1_LABELS)}
NUM_LABELS = len(_LABELS) + 1
"""Label 0 means no block."""
_MIN_OVERLAP = 4

_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">"}


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """Page as arrays. It has P patches, P / 4 cells and T tokens."""

    pixels: np.ndarray
    """[height, width, 3] uint8, in the size of the model's input."""
    grid: tuple[int, int]
    """Rows and columns of patches."""
    cells: np.ndarray
    """[P / 4, NUM_SLOTS] uint16, the class of the character whose centre lies in each
    part of a cell, row by row."""
    layout: np.ndarray
    """[P / 4, BLOCKS_PER_CELL, 5] float32, the blocks in each cell: the label, then the
    left, top, right and bottom edges of the whole block in steps from 0 to
    EDGE_STEPS."""
    tokens: list[int]
    """Token ids of the prompt and the answer, T in total."""
    num_prompt_tokens: int
    places: list[int]
    """Cell of the first letter of each token of the answer, or NO_CELL."""
    slots: list[int]
    """Part of that cell, 0 to NUM_SLOTS - 1."""
    later_places: list[int]
    """Cell of the letter LOOKAHEAD letters later, or NO_CELL."""


@dataclass(slots=True)
class TrainingBatch:
    """Batch of B pages, padded on the right to T tokens."""

    pixels: torch.Tensor
    """[B, P, 768] bfloat16, with a single frame."""
    grid: tuple[int, int]
    """Rows and columns of patches of every page."""
    cells: torch.Tensor
    """[total cells, NUM_SLOTS]."""
    layout: torch.Tensor
    """[total cells, BLOCKS_PER_CELL, 5]."""
    tokens: torch.Tensor
    """[B, T]."""
    targets: torch.Tensor
    """[B, T], the next token, or -100 where there is no loss."""
    places: torch.Tensor
    """[B, T], the cell of each token, or NO_CELL."""
    slots: torch.Tensor
    """[B, T], the part of that cell."""
    later_places: torch.Tensor
    """[B, T], the cell LOOKAHEAD letters later, or NO_CELL."""
    image_start: int
    """Index of the first image token in every sequence."""

    @property
    def num_pages(self) -> int:
        return len(self.tokens)


class Sampler:
    """Converter of pages into samples and of samples into batches."""

    def __init__(
        self, tokenizer: Tokenizer, *, prompt_type: str = "ocr_layout"
    ) -> None:
        self._tokenizer = tokenizer
        self._prompt = PROMPT_MAPPING[prompt_type]
        self._image_token = token_id(tokenizer, "<|image_pad|>")
        self._pad_token = token_id(tokenizer, "<|endoftext|>")
        self._end_token = token_id(tokenizer, "<|im_end|>")

    def make_sample(self, page: RenderedPage) -> TrainingSample:
        """Convert a page, scaled as the service does, into a sample."""
        width, height = target_size(*page.image.size, PROFILES["mini"].sizing)
        image = page.image.convert("RGB")
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        columns, rows = width // CELL_SIDE, height // CELL_SIDE
        x_scale, y_scale = width / page.image.width, height / page.image.height

        def slot_at(place: Point | None) -> tuple[int, int]:
            """Return the cell of a place and its part."""
            if place is None:
                return NO_CELL, 0
            x = place[0] * x_scale / CELL_SIDE * SLOT_COLUMNS
            y = place[1] * y_scale / CELL_SIDE * SLOT_ROWS
            column = min(columns * SLOT_COLUMNS - 1, max(0, int(x)))
            row = min(rows * SLOT_ROWS - 1, max(0, int(y)))
            cell = row // SLOT_ROWS * columns + column // SLOT_COLUMNS
            return cell, row % SLOT_ROWS * SLOT_COLUMNS + column % SLOT_COLUMNS

        pieces = page.answer_pieces()
        prompt = self._tokenizer.encode(chat(self._prompt, rows * columns)).ids
        answer = self._tokenizer.encode("".join(piece.text for piece in pieces))
        letters = _find_letters(pieces, slot_at)
        starts = [letters.first[start] for start, _ in answer.offsets]
        spots = [letters.spots[index] for index in starts]
        later = [letters.spots[index + LOOKAHEAD] for index in starts]
        return TrainingSample(
            pixels=np.array(image),
            grid=(rows * 2, columns * 2),
            cells=_make_cells(page, slot_at, rows * columns),
            layout=_make_layout(page, rows, columns),
            tokens=[*prompt, *answer.ids, self._end_token],
            num_prompt_tokens=len(prompt),
            places=[*(cell for cell, _ in spots), NO_CELL],
            slots=[*(slot for _, slot in spots), 0],
            later_places=[*(cell for cell, _ in later), NO_CELL],
        )

    def make_batch(self, samples: Sequence[TrainingSample]) -> TrainingBatch:
        """Join samples of equal size, padded to one of few lengths."""
        # Round the length up, because CPU kernels are prepared anew for each length.
        longest = max(len(sample.tokens) for sample in samples)
        step = _LENGTH_STEPS[longest > 640]
        length = -(-longest // step) * step
        tokens = torch.full((len(samples), length), self._pad_token)
        targets = torch.full((len(samples), length), -100)
        places = torch.full((len(samples), length), NO_CELL)
        slots = torch.zeros((len(samples), length), dtype=torch.long)
        later_places = torch.full((len(samples), length), NO_CELL)
        for row, sample in enumerate(samples):
            count, start = len(sample.tokens), sample.num_prompt_tokens
            tokens[row, :count] = torch.tensor(sample.tokens)
            targets[row, start - 1 : count - 1] = tokens[row, start:count]
            places[row, start:count] = torch.tensor(sample.places)
            slots[row, start:count] = torch.tensor(sample.slots)
            later_places[row, start:count] = torch.tensor(sample.later_places)
        return TrainingBatch(
            pixels=torch.stack([_make_patches(sample) for sample in samples]),
            grid=samples[0].grid,
            cells=torch.from_numpy(np.concatenate([s.cells for s in samples])),
            layout=torch.from_numpy(np.concatenate([s.layout for s in samples])),
            tokens=tokens,
            targets=targets,
            places=places,
            slots=slots,
            later_places=later_places,
            image_start=samples[0].tokens.index(self._image_token),
        )


def _make_patches(sample: TrainingSample) -> torch.Tensor:
    patches = pixels_to_patches(
        torch.from_numpy(sample.pixels),
        patch_size=_PATCH,
        merge_size=CELL_SIDE // _PATCH,
        num_frames=1,
    )
    return patches.bfloat16()


def _make_layout(page: RenderedPage, rows: int, columns: int) -> np.ndarray:
    width, height = page.image.size
    cell_width, cell_height = width / columns, height / rows
    layout = np.zeros((rows * columns, BLOCKS_PER_CELL, 5), dtype=np.float32)
    for block in sorted(page.blocks, key=lambda block: block.bbox[1]):
        x0, y0, x1, y1 = block.bbox
        edges = np.array([x0 / width, y0 / height, x1 / width, y1 / height])
        steps = (edges * EDGE_STEPS).clip(0, EDGE_STEPS)
        for row in range(rows):
            top = max(y0, row * cell_height)
            if min(y1, (row + 1) * cell_height) - top < _MIN_OVERLAP:
                continue
            for column in range(columns):
                left = max(x0, column * cell_width)
                if min(x1, (column + 1) * cell_width) - left < _MIN_OVERLAP:
                    continue
                cell = layout[row * columns + column]
                if len(free := np.flatnonzero(cell[:, 0] == 0)):
                    cell[free[0]] = [_LABELS[block.label], *steps]
    return layout


def _make_cells(
    page: RenderedPage, slot_at: Callable[[Point], tuple[int, int]], num_cells: int
) -> np.ndarray:
    cells = np.zeros((num_cells, NUM_SLOTS), dtype=np.int64)
    for block in page.blocks:
        if block.label == "Figure":
            continue
        for piece in block.pieces:
            if piece.place is not None and piece.text != " ":
                character = _ENTITIES.get(piece.text, piece.text)
                cells[slot_at(piece.place)] = _CLASSES[character]
    return cells


@dataclass(frozen=True, slots=True)
class _Letters:
    """Letters of an answer in reading order."""

    first: list[int]
    """Index of the next letter, for each character of the answer."""
    spots: list[tuple[int, int]]
    """Cell and slot of each letter, followed by LOOKAHEAD + 1 times NO_CELL."""


def _find_letters(
    pieces: Sequence[Piece], slot_at: Callable[[Point | None], tuple[int, int]]
) -> _Letters:
    first: list[int] = []
    spots: list[tuple[int, int]] = []
    for piece in pieces:
        first += [len(spots)] * len(piece.text)
        # Spaces belong to the next letter; markup has a place, but is no letter.
        if piece.place is not None and piece.text != " " and not _is_markup(piece):
            spots.append(slot_at(piece.place))
    spots += [(NO_CELL, 0)] * (LOOKAHEAD + 1)
    return _Letters(first, spots)


def _is_markup(piece: Piece) -> bool:
    return len(piece.text) > 1 and piece.text not in _ENTITIES
