"""Losses of the training.

With only the answers as targets, the model needs very many pages to learn to read. The
renderer knows the position of every letter, and four losses make use of it:

- cells: a merged visual token predicts the characters of its cell and their positions;
- layout: it predicts the blocks that overlap its cell, and their edges;
- places: in one layer an attention head attends to the cell of the current token, and
  in the next two layers one head attends to the cell of the next token and another one
  to a cell some letters later;
- slots: the hidden state predicts in which part of its cell the next letter is.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, gelu
from transformers import Qwen3VLForConditionalGeneration

from mini.network import Features, Network
from mini.samples import (
    BLOCKS_PER_CELL,
    EDGE_STEPS,
    NO_CELL,
    NUM_CLASSES,
    NUM_LABELS,
    NUM_SLOTS,
    TrainingBatch,
)

__all__ = ["Lesson", "Losses"]

_CURRENT_LAYER = 2
_CURRENT_HEAD = 0
_NEXT_LAYERS = (3, 4)
_NEXT_HEAD = 0
_LATER_HEAD = 2
_SLOT_LAYER = 4
_SLOT_SIZE = 48
"""Size of the features of a part of a cell."""
_EMPTY_WEIGHT = 0.2
"""Weight of empty slots, which are the majority."""
_NUM_EDGES = EDGE_STEPS + 1
_NUMBER_TOLERANCE = 1.0
"""Scale of the tolerance for box numbers in tokens: a box need not be exact."""
_NUMBER_WEIGHT = 2.0
"""Weight of box numbers. A line of text is ten numbers high, so an error of two costs a
sixth of its IoU."""


@dataclass(slots=True)
class Losses:
    """Losses in nats per answer token, character, cell block, place and slot."""

    cells: torch.Tensor
    layout: torch.Tensor
    reading: torch.Tensor | None = None
    places: torch.Tensor | None = None
    slots: torch.Tensor | None = None

    def as_dict(self) -> dict[str, torch.Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


class Lesson(nn.Module):
    """Model with heads for the auxiliary losses; the checkpoint has only `model`."""

    def __init__(
        self, model: Qwen3VLForConditionalGeneration, number_tokens: range
    ) -> None:
        """Add the heads. `number_tokens` are the tokens of box numbers, in order."""
        super().__init__()
        self.model = model
        self.network = Network(model)
        text_config: Any = model.config.text_config
        width = text_config.hidden_size
        self.cell_head = nn.Linear(width, NUM_SLOTS * _SLOT_SIZE)
        self.class_head = nn.Linear(_SLOT_SIZE, NUM_CLASSES)
        self.layout_head = nn.Linear(
            width, BLOCKS_PER_CELL * (NUM_LABELS + 4 * _NUM_EDGES)
        )
        self.slot_head = nn.Linear(width, NUM_SLOTS)
        self._number_tokens = number_tokens
        numbers = torch.arange(len(number_tokens))
        near = torch.exp(-(numbers[:, None] - numbers).abs() / _NUMBER_TOLERANCE)
        self._near = nn.Buffer(near / near.sum(dim=1, keepdim=True), persistent=False)

    def forward(self, batch: TrainingBatch, *, vision_only: bool) -> Losses:
        features = self.network.encode_images(batch.pixels, batch.grid)
        merged = features.merged.float().flatten(0, 1)
        losses = Losses(
            self._cell_loss(merged, batch), self._layout_loss(merged, batch)
        )
        if not vision_only:
            self._add_reading_losses(losses, features, batch)
        return losses

    def _add_reading_losses(
        self, losses: Losses, features: Features, batch: TrainingBatch
    ) -> None:
        scores: dict[tuple[int, int], torch.Tensor] = {}
        states: dict[int, torch.Tensor] = {}
        start = batch.image_start
        image = slice(start, start + features.merged.shape[1])

        def keep_scores(layer: int, values: torch.Tensor) -> None:
            heads: dict[int, tuple[int, ...]] = {_CURRENT_LAYER: (_CURRENT_HEAD,)}
            heads |= dict.fromkeys(_NEXT_LAYERS, (_NEXT_HEAD, _LATER_HEAD))
            for head in heads.get(layer, ()):
                scores[layer, head] = values[:, head, :, image]

        hidden = self.network.read(
            batch.tokens,
            features,
            image_start=start,
            grid=batch.grid,
            keep_scores=keep_scores,
            keep_hidden=states.__setitem__,
        )
        is_answer = batch.targets != -100
        logits = self.network.predict_tokens(hidden[is_answer])
        losses.reading = self._reading_loss(logits.float(), batch.targets[is_answer])
        following = _shift(batch.places, NO_CELL)
        later = _shift(batch.later_places, NO_CELL)
        places = [_place_loss(scores[_CURRENT_LAYER, _CURRENT_HEAD], batch.places)]
        for layer in _NEXT_LAYERS:
            places.append(_place_loss(scores[layer, _NEXT_HEAD], following))
            places.append(_place_loss(scores[layer, _LATER_HEAD], later))
        losses.places = torch.stack(places).mean()
        known = following != NO_CELL
        predicted = self.slot_head(states[_SLOT_LAYER][known].float())
        losses.slots = cross_entropy(predicted, _shift(batch.slots, 0)[known])

    def _reading_loss(
        self, logits: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return the cross entropy, with soft targets around the numbers of boxes."""
        losses = cross_entropy(logits, targets, reduction="none")
        numbers = self._number_tokens
        is_number = (targets >= numbers.start) & (targets < numbers.stop)
        near = self._near[targets[is_number] - numbers.start]
        log_probs = logits[is_number].log_softmax(dim=-1)
        near_losses = -(near * log_probs[:, numbers.start : numbers.stop]).sum(dim=-1)
        losses = losses.masked_scatter(is_number, _NUMBER_WEIGHT * near_losses)
        return losses.mean()

    def _cell_loss(self, merged: torch.Tensor, batch: TrainingBatch) -> torch.Tensor:
        """Return the loss of which slots have a character, and of its class."""
        slots = gelu(self.cell_head(merged)).unflatten(1, (NUM_SLOTS, _SLOT_SIZE))
        targets = batch.cells.flatten()
        slots = slots.flatten(0, 1)
        is_letter = targets > 0
        # Class 0 means an empty slot; its logit decides in all slots.
        empty = slots @ self.class_head.weight[0] + self.class_head.bias[0]
        presence = binary_cross_entropy_with_logits(empty, (~is_letter).float())
        classes = self.class_head(slots[is_letter])[:, 1:]
        return cross_entropy(classes, targets[is_letter] - 1) + 4 * presence

    def _layout_loss(self, merged: torch.Tensor, batch: TrainingBatch) -> torch.Tensor:
        predictions = self.layout_head(merged)
        predictions = predictions.reshape(-1, NUM_LABELS + 4 * _NUM_EDGES)
        targets = batch.layout.reshape(-1, 5)
        labels, edges = targets[:, 0].long(), targets[:, 1:]
        weight = torch.where(labels > 0, 1.0, _EMPTY_WEIGHT)
        label_losses = cross_entropy(
            predictions[:, :NUM_LABELS], labels, reduction="none"
        )
        is_block = labels > 0
        log_probs = predictions[is_block, NUM_LABELS:].reshape(-1, 4, _NUM_EDGES)
        log_probs = log_probs.log_softmax(dim=-1)
        # The target of an edge between two steps is divided between both.
        steps = torch.arange(_NUM_EDGES, device=edges.device)
        shares = (1 - (edges[is_block, :, None] - steps).abs()).clamp(min=0)
        edge_losses = -(shares * log_probs).sum(dim=-1)
        label_loss: torch.Tensor = (label_losses * weight).sum() / weight.sum()
        edge_loss: torch.Tensor = edge_losses.mean()
        return label_loss + edge_loss


def _shift(values: torch.Tensor, fill: Any) -> torch.Tensor:
    """Return, for each token, the value of the next token."""
    shifted = values.roll(-1, dims=1)
    shifted[:, -1] = fill
    return shifted


def _place_loss(scores: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of a head that should attend to the right cells.

    `scores` are those of the image tokens, [B, T, cells].
    """
    known = places != NO_CELL
    return cross_entropy(scores[known].float(), places[known])
