"""What the model is taught besides its answer.

Trained on answers alone it learns to read only after very many pages. The renderer
knows where every letter stands, and three more losses say so:

- cells: a merged visual token names the characters whose centres lie in its cell;
- layout: it names the blocks that reach into its cell, and where they begin and end;
- places: in one layer a head looks at the cell of the token just said, in the two
  that follow some look at the cell of the token to say next.
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
    BLOCKS,
    EDGE_STEPS,
    NOWHERE,
    NUM_CLASSES,
    NUM_LABELS,
    SLOTS,
    Batch,
)

__all__ = ["Lesson", "Losses"]

_ATTENTION = "mini_lesson"
_HERE = {2: (0,)}
_NEXT = {3: (0, 2), 4: (0, 2)}
"""Heads by layer that are told where to look. Two of them share a key and a value, so
that a cell of many letters is read through several."""
_EMPTY_WEIGHT = 0.2
"""Most slots are empty."""
_NUM_EDGES = EDGE_STEPS + 1
_NEAR = 0.8
"""How far off a number may be, in tokens: a box need not be right to the pixel."""
_NUMBER_WEIGHT = 2.0
"""A line of text is high as ten numbers: with a box two off, a sixth of it is lost."""


@dataclass(slots=True)
class Losses:
    """Nats: a token of the answer, a slot of a cell, a block of a cell, a place."""

    reading: torch.Tensor
    cells: torch.Tensor
    layout: torch.Tensor
    places: torch.Tensor


class Lesson(nn.Module):
    """The model with its extra heads; only `model` is kept in the end."""

    def __init__(
        self, model: Qwen3VLForConditionalGeneration, number_tokens: range
    ) -> None:
        """`number_tokens` are the tokens of a box's numbers, in order."""
        super().__init__()
        self.model = model
        width = model.model.visual.config.out_hidden_size
        self.cell_head = nn.Linear(width, SLOTS * NUM_CLASSES)
        self.layout_head = nn.Linear(width, BLOCKS * (NUM_LABELS + 4 * _NUM_EDGES))
        self._number_tokens = number_tokens
        numbers = torch.arange(len(number_tokens))
        near = torch.exp(-(numbers[:, None] - numbers).abs() / _NEAR)
        self._near = nn.Buffer(near / near.sum(dim=1, keepdim=True), persistent=False)
        self._features: torch.Tensor | None = None
        self._looks: dict[tuple[int, int], torch.Tensor] = {}
        self._mask = torch.empty(0, 0)
        model.model.visual.merger.register_forward_hook(self._keep_features)
        AttentionInterface.register(_ATTENTION, self._attend)
        for part in (model.model.language_model, model.model.visual):
            part.config._attn_implementation = _ATTENTION

    def see(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The losses of cells and layout: the vision encoder without the text."""
        self.model.model.visual(batch.pixels, grid_thw=batch.grids)
        return self._seen(batch)

    def forward(self, batch: Batch) -> Losses:
        model = self.model
        is_image = batch.tokens == model.config.image_token_id
        hidden = model.model(
            input_ids=batch.tokens,
            pixel_values=batch.pixels,
            image_grid_thw=batch.grids,
            mm_token_type_ids=is_image.int(),
            use_cache=False,
        ).last_hidden_state
        said = batch.wanted != -100
        logits = model.lm_head(hidden[said])
        reading = self._reading_loss(logits.float(), batch.wanted[said])
        following = batch.places.roll(-1, dims=1)
        following[:, -1] = NOWHERE
        places = self._place_loss(_HERE, batch.places, is_image)
        places = places + self._place_loss(_NEXT, following, is_image)
        self._looks.clear()
        return Losses(reading, *self._seen(batch), places)

    def _keep_features(
        self, module: nn.Module, inputs: Any, output: torch.Tensor
    ) -> None:
        self._features = output

    def _reading_loss(self, logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Cross entropy; beside a box's number its neighbours are nearly as right."""
        losses = cross_entropy(logits, wanted, reduction="none")
        numbers = self._number_tokens
        is_number = (wanted >= numbers.start) & (wanted < numbers.stop)
        near = self._near[wanted[is_number] - numbers.start]
        found = logits[is_number].log_softmax(dim=-1)
        near_losses = -(near * found[:, numbers.start : numbers.stop]).sum(dim=-1)
        losses[is_number] = _NUMBER_WEIGHT * near_losses
        return losses.mean()

    def _seen(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        assert self._features is not None
        features, self._features = self._features, None
        return self._cell_loss(features, batch), self._layout_loss(features, batch)

    def _layout_loss(self, features: torch.Tensor, batch: Batch) -> torch.Tensor:
        guesses = self.layout_head(features).float()
        guesses = guesses.reshape(-1, NUM_LABELS + 4 * _NUM_EDGES)
        wanted = batch.layout.reshape(-1, 5)
        labels, edges = wanted[:, 0].long(), wanted[:, 1:]
        weight = torch.where(labels > 0, 1.0, _EMPTY_WEIGHT)
        label_losses = cross_entropy(guesses[:, :NUM_LABELS], labels, reduction="none")
        is_block = labels > 0
        found = guesses[is_block, NUM_LABELS:].reshape(-1, 4, _NUM_EDGES)
        found = found.log_softmax(dim=-1)
        # An edge between two steps is a little of both.
        steps = torch.arange(_NUM_EDGES, device=edges.device)
        shares = (1 - (edges[is_block, :, None] - steps).abs()).clamp(min=0)
        edge_losses = -(shares * found).sum(dim=-1)
        label_loss: torch.Tensor = (label_losses * weight).sum() / weight.sum()
        edge_loss: torch.Tensor = edge_losses.mean()
        return label_loss + edge_loss

    def _cell_loss(self, features: torch.Tensor, batch: Batch) -> torch.Tensor:
        guesses = self.cell_head(features).reshape(-1, NUM_CLASSES)
        wanted = batch.cells.reshape(-1)
        weight = torch.where(wanted > 0, 1.0, _EMPTY_WEIGHT)
        losses = cross_entropy(guesses.float(), wanted, reduction="none")
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
        # Written out, because it is faster on a processor than what torch fuses.
        # Tokens are filled up on the right, so a causal mask is all that is needed.
        key = key.repeat_interleave(module.num_key_value_groups, dim=1)
        value = value.repeat_interleave(module.num_key_value_groups, dim=1)
        scores = (query * scaling) @ key.transpose(2, 3)
        if module.is_causal:
            for head in (_HERE | _NEXT).get(module.layer_idx, ()):
                # [B, T, T]
                self._looks[module.layer_idx, head] = scores[:, head]
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
        """How far heads are from looking at the right cell, among all cells."""
        # Cells follow one another after the tokens that open the turn.
        first = is_image.int().argmax(dim=1, keepdim=True)
        known = places != NOWHERE
        wanted = (places + first)[known]
        losses = []
        for layer, numbers in heads.items():
            for head in numbers:
                looks = self._looks[layer, head].float()
                looks = looks.masked_fill(~is_image[:, None, :], float("-inf"))
                losses.append(cross_entropy(looks[known], wanted))
        return torch.stack(losses).mean()
