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
from mini.words import CHARACTERS

__all__ = [
    "BLOCKS_PER_CELL",
    "CELL_SIDE",
    "CHARACTERS_PER_CELL",
    "EDGE_STEPS",
    "NO_CELL",
    "NUM_CLASSES",
    "NUM_LABELS",
    "Sampler",
    "TrainingBatch",
    "TrainingSample",
]

CELL_SIDE = 32
"""Side of a merged visual token in pixels."""
CHARACTERS_PER_CELL = 8
"""Number of characters to predict in a cell."""
BLOCKS_PER_CELL = 2
"""Number of blocks to predict in a cell."""
EDGE_STEPS = 64
"""Number of steps per page side in which a block's edges are measured."""
NO_CELL = -1

_PATCH = 16
_FRAMES = 2
_LENGTH_STEP = 64
_CLASSES = {character: index + 1 for index, character in enumerate(CHARACTERS)}
NUM_CLASSES = len(CHARACTERS) + 1
"""Class 0 is an empty slot."""
_LABELS = {label: index + 1 for index, label in enumerate(CHANDRA_1_LABELS)}
NUM_LABELS = len(_LABELS) + 1
"""Label 0 means no block."""
_MIN_OVERLAP = 4

_CLOSING = ("</", '"/', "<div ")
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">"}


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """Page as arrays. It has P patches, P / 4 cells and T tokens."""

    pixels: np.ndarray
    """[height, width, 3] uint8, in the size of the model's input."""
    grid: tuple[int, int]
    """Rows and columns of patches."""
    cells: np.ndarray
    """[P / 4, CHARACTERS_PER_CELL], the classes of the characters in each cell, in
    reading order."""
    layout: np.ndarray
    """[P / 4, BLOCKS_PER_CELL, 5] float32, the blocks in each cell: the label, then the
    left, top, right and bottom edges of the whole block in steps from 0 to
    EDGE_STEPS."""
    tokens: list[int]
    """Token ids of the prompt and the answer, T in total."""
    num_prompt_tokens: int
    places: list[int]
    """Cell that each token of the answer is read from, or NO_CELL."""


@dataclass(slots=True)
class TrainingBatch:
    """Batch of B pages, padded on the right to T tokens."""

    pixels: torch.Tensor
    """[total patches, 1536]."""
    grids: torch.Tensor
    """[B, 3], the frames, rows and columns of patches."""
    cells: torch.Tensor
    """[total cells, CHARACTERS_PER_CELL]."""
    layout: torch.Tensor
    """[total cells, BLOCKS_PER_CELL, 5]."""
    tokens: torch.Tensor
    """[B, T]."""
    targets: torch.Tensor
    """[B, T], the next token, or -100 where there is no loss."""
    places: torch.Tensor
    """[B, T], the cell of each token, or NO_CELL."""

    @property
    def num_pages(self) -> int:
        return len(self.tokens)

    def to(self, device: torch.device) -> TrainingBatch:
        """Return a copy on a device."""
        names = type(self).__dataclass_fields__
        return TrainingBatch(**{name: getattr(self, name).to(device) for name in names})


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

        def cell_at(place: tuple[float, float] | None) -> int:
            if place is None:
                return NO_CELL
            column = min(columns - 1, max(0, int(place[0] * x_scale / CELL_SIDE)))
            row = min(rows - 1, max(0, int(place[1] * y_scale / CELL_SIDE)))
            return row * columns + column

        pieces = _with_markup_places(page.answer_pieces())
        prompt = self._tokenizer.encode(chat(self._prompt, rows * columns)).ids
        answer = self._tokenizer.encode("".join(piece.text for piece in pieces))
        places_of_characters: list[int] = []
        for piece in pieces:
            places_of_characters += [cell_at(piece.place)] * len(piece.text)
        places = [places_of_characters[start] for start, _ in answer.offsets]
        return TrainingSample(
            pixels=np.array(image),
            grid=(rows * 2, columns * 2),
            cells=_make_cells(page, cell_at, rows * columns),
            layout=_make_layout(page, rows, columns),
            tokens=[*prompt, *answer.ids, self._end_token],
            num_prompt_tokens=len(prompt),
            places=[*places, NO_CELL],
        )

    def make_batch(self, samples: Sequence[TrainingSample]) -> TrainingBatch:
        """Join samples into a batch, padded to a multiple of 64 tokens."""
        # Round the length up, because CPU kernels are prepared anew for each length.
        longest = max(len(sample.tokens) for sample in samples)
        length = -(-longest // _LENGTH_STEP) * _LENGTH_STEP
        tokens = torch.full((len(samples), length), self._pad_token)
        targets = torch.full((len(samples), length), -100)
        places = torch.full((len(samples), length), NO_CELL)
        for row, sample in enumerate(samples):
            count, start = len(sample.tokens), sample.num_prompt_tokens
            tokens[row, :count] = torch.tensor(sample.tokens)
            targets[row, start - 1 : count - 1] = tokens[row, start:count]
            places[row, start:count] = torch.tensor(sample.places)
        return TrainingBatch(
            pixels=torch.cat([_make_patches(sample) for sample in samples]),
            grids=torch.tensor([[1, *sample.grid] for sample in samples]),
            cells=torch.from_numpy(np.concatenate([s.cells for s in samples])),
            layout=torch.from_numpy(np.concatenate([s.layout for s in samples])),
            tokens=tokens,
            targets=targets,
            places=places,
        )


def _make_patches(sample: TrainingSample) -> torch.Tensor:
    return pixels_to_patches(
        torch.from_numpy(sample.pixels),
        patch_size=_PATCH,
        merge_size=CELL_SIDE // _PATCH,
        num_frames=_FRAMES,
    )


def _with_markup_places(pieces: Sequence[Piece]) -> list[Piece]:
    """Give markup the position of the neighbouring letter.

    An opening tag gets that of the following letter, a closing tag of the previous one.
    """
    places: list[Point | None] = [piece.place for piece in pieces]
    for index, piece in enumerate(pieces):
        if places[index] is None and index and piece.text.startswith(_CLOSING):
            places[index] = places[index - 1]
    for index in range(len(pieces) - 2, -1, -1):
        if places[index] is None and not pieces[index].text.startswith(_CLOSING):
            places[index] = places[index + 1]
    return [Piece(p.text, place) for p, place in zip(pieces, places, strict=True)]


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
    page: RenderedPage, cell_at: Callable[[Point], int], num_cells: int
) -> np.ndarray:
    letters: list[list[tuple[float, float, int]]] = [[] for _ in range(num_cells)]
    for block in page.blocks:
        if block.label == "Figure":
            continue
        for piece in block.pieces:
            if piece.place is None or piece.text == " ":
                continue
            x, y = piece.place
            character = _ENTITIES.get(piece.text, piece.text)
            letters[cell_at(piece.place)].append((y, x, _CLASSES[character]))
    cells = np.zeros((num_cells, CHARACTERS_PER_CELL), dtype=np.int64)
    for index, characters in enumerate(letters):
        kept = _sort_in_reading_order(characters)[:CHARACTERS_PER_CELL]
        cells[index, : len(kept)] = kept
    return cells


def _sort_in_reading_order(characters: list[tuple[float, float, int]]) -> list[int]:
    # On a rotated page, letters of one line differ in height by a pixel or two.
    lines: list[list[tuple[float, float, int]]] = []
    for character in sorted(characters):
        if lines and character[0] - lines[-1][0][0] < 7:
            lines[-1].append(character)
        else:
            lines.append([character])
    return [
        c for line in lines for _, _, c in sorted(line, key=lambda letter: letter[1])
    ]
