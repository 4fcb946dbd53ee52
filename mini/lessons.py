"""Auxiliary losses of the training.

With only the answers as targets, the model needs very many pages to learn to read. The
renderer knows the position of every letter, and three losses make use of it:

- cells: a merged visual token predicts the characters whose centres lie in its cell;
- layout: it predicts the blocks that overlap its cell, and their edges;
- places: in one layer an attention head attends to the cell of the current token, and
  in the next two layers some heads attend to the cell of the next token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AttentionInterface, Qwen3VLForConditionalGeneration

from mini.samples import (
    BLOCKS_PER_CELL,
    CHARACTERS_PER_CELL,
    EDGE_STEPS,
    NO_CELL,
    NUM_CLASSES,
    NUM_LABELS,
    TrainingBatch,
)

__all__ = ["Lesson", "Losses"]

_ATTENTION = "mini_lesson"
_CURRENT_TOKEN_HEADS = {2: (0,)}
_NEXT_TOKEN_HEADS = {3: (0, 2), 4: (0, 2)}
"""Attention heads with a place loss, by layer. Two of them share a key and a value, so
that a cell of many letters is read through several heads."""
_EMPTY_WEIGHT = 0.2
"""Weight of empty slots, which are the majority."""
_NUM_EDGES = EDGE_STEPS + 1
_NUMBER_TOLERANCE = 0.8
"""Scale of the tolerance for box numbers in tokens: a box need not be exact."""
_NUMBER_WEIGHT = 2.0
"""Weight of box numbers. A line of text is ten numbers high, so an error of two costs a
sixth of its IoU."""


@dataclass(slots=True)
class Losses:
    """Losses in nats per answer token, cell slot, cell block and place."""

    reading: torch.Tensor
    cells: torch.Tensor
    layout: torch.Tensor
    places: torch.Tensor


class Lesson(nn.Module):
    """Model with heads for the auxiliary losses; the checkpoint has only `model`."""

    def __init__(
        self, model: Qwen3VLForConditionalGeneration, number_tokens: range
    ) -> None:
        """Add the heads. `number_tokens` are the tokens of box numbers, in order."""
        super().__init__()
        self.model = model
        width = model.model.visual.config.out_hidden_size
        self.cell_head = nn.Linear(width, CHARACTERS_PER_CELL * NUM_CLASSES)
        self.layout_head = nn.Linear(
            width, BLOCKS_PER_CELL * (NUM_LABELS + 4 * _NUM_EDGES)
        )
        self._number_tokens = number_tokens
        numbers = torch.arange(len(number_tokens))
        near = torch.exp(-(numbers[:, None] - numbers).abs() / _NUMBER_TOLERANCE)
        self._near = nn.Buffer(near / near.sum(dim=1, keepdim=True), persistent=False)
        self._features: torch.Tensor | None = None
        self._attention_scores: dict[tuple[int, int], torch.Tensor] = {}
        self._mask = torch.empty(0, 0)
        model.model.visual.merger.register_forward_hook(self._keep_features)
        AttentionInterface.register(_ATTENTION, self._attend)
        for part in (model.model.language_model, model.model.visual):
            part.config._attn_implementation = _ATTENTION

    def vision_losses(self, batch: TrainingBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the losses of cells and layout, which need only the vision encoder."""
        self.model.model.visual(batch.pixels, grid_thw=batch.grids)
        return self._vision_losses(batch)

    def forward(self, batch: TrainingBatch) -> Losses:
        model = self.model
        is_image = batch.tokens == model.config.image_token_id
        hidden = model.model(
            input_ids=batch.tokens,
            pixel_values=batch.pixels,
            image_grid_thw=batch.grids,
            mm_token_type_ids=is_image.int(),
            use_cache=False,
        ).last_hidden_state
        is_answer = batch.targets != -100
        logits = model.lm_head(hidden[is_answer])
        reading = self._reading_loss(logits.float(), batch.targets[is_answer])
        following = batch.places.roll(-1, dims=1)
        following[:, -1] = NO_CELL
        places = self._place_loss(_CURRENT_TOKEN_HEADS, batch.places, is_image)
        places = places + self._place_loss(_NEXT_TOKEN_HEADS, following, is_image)
        self._attention_scores.clear()
        return Losses(reading, *self._vision_losses(batch), places)

    def _keep_features(
        self, module: nn.Module, inputs: Any, output: torch.Tensor
    ) -> None:
        self._features = output

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
        losses[is_number] = _NUMBER_WEIGHT * near_losses
        return losses.mean()

    def _vision_losses(self, batch: TrainingBatch) -> tuple[torch.Tensor, torch.Tensor]:
        assert self._features is not None
        features, self._features = self._features, None
        return self._cell_loss(features, batch), self._layout_loss(features, batch)

    def _layout_loss(
        self, features: torch.Tensor, batch: TrainingBatch
    ) -> torch.Tensor:
        predictions = self.layout_head(features).float()
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

    def _cell_loss(self, features: torch.Tensor, batch: TrainingBatch) -> torch.Tensor:
        predictions = self.cell_head(features).reshape(-1, NUM_CLASSES)
        targets = batch.cells.reshape(-1)
        weight = torch.where(targets > 0, 1.0, _EMPTY_WEIGHT)
        losses = cross_entropy(predictions.float(), targets, reduction="none")
        return (losses * weight).sum() / weight.sum()

    def _attend(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        *,
        scaling: float,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        # On a CPU this is faster than torch's fused attention. Samples are padded on
        # the right, so a causal mask is sufficient.
        key = key.repeat_interleave(module.num_key_value_groups, dim=1)
        value = value.repeat_interleave(module.num_key_value_groups, dim=1)
        scores = (query * scaling) @ key.transpose(2, 3)
        if module.is_causal:
            for head in (_CURRENT_TOKEN_HEADS | _NEXT_TOKEN_HEADS).get(
                module.layer_idx, ()
            ):
                # [B, T, T]
                self._attention_scores[module.layer_idx, head] = scores[:, head]
            scores = scores + self._causal(scores)
        attended = scores.softmax(dim=-1) @ value
        return attended.transpose(1, 2), None

    def _causal(self, scores: torch.Tensor) -> torch.Tensor:
        length = scores.shape[-1]
        if self._mask.shape[-1] < length:
            self._mask = scores.new_full((length, length), float("-inf")).triu(1)
        return self._mask[:length, :length]

    def _place_loss(
        self,
        heads: Mapping[int, tuple[int, ...]],
        places: torch.Tensor,
        is_image: torch.Tensor,
    ) -> torch.Tensor:
        """Return the cross entropy of heads that should attend to the right cells."""
        # Image tokens are consecutive, after the tokens that open the turn.
        first = is_image.int().argmax(dim=1, keepdim=True)
        known = places != NO_CELL
        targets = (places + first)[known]
        losses = []
        for layer, numbers in heads.items():
            for head in numbers:
                scores = self._attention_scores[layer, head].float()
                scores = scores.masked_fill(~is_image[:, None, :], float("-inf"))
                losses.append(cross_entropy(scores[known], targets))
        return torch.stack(losses).mean()
