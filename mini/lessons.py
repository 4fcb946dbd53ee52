"""What the model is taught besides its answer.

Trained on answers alone it learns to read only after very many pages. The renderer
knows where every letter stands, and two more losses say so:

- cells: a merged visual token names the characters whose centres lie in its cell;
- places: in one layer a head looks at the cell of the token just said, in a later
  one a head looks at the cell of the token to say next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AttentionInterface, Qwen3VLForConditionalGeneration

from mini.samples import NOWHERE, NUM_CLASSES, SLOTS, Batch

__all__ = ["Lesson", "Losses"]

_ATTENTION = "mini_lesson"
_LAYER_HERE, _LAYER_NEXT = 2, 3
_EMPTY_WEIGHT = 0.2
"""Most slots are empty."""


@dataclass(slots=True)
class Losses:
    """Nats: a token of the answer, a slot of a cell, a place."""

    reading: torch.Tensor
    cells: torch.Tensor
    places: torch.Tensor


class Lesson(nn.Module):
    """The model with its extra heads; only `model` is kept in the end."""

    def __init__(self, model: Qwen3VLForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        width = model.model.visual.config.out_hidden_size
        self.cell_head = nn.Linear(width, SLOTS * NUM_CLASSES)
        self._features: torch.Tensor | None = None
        self._looks: dict[int, torch.Tensor] = {}
        self._mask = torch.empty(0, 0)
        model.model.visual.merger.register_forward_hook(self._keep_features)
        AttentionInterface.register(_ATTENTION, self._attend)
        for part in (model.model.language_model, model.model.visual):
            part.config._attn_implementation = _ATTENTION

    def see(self, batch: Batch) -> torch.Tensor:
        """The loss of the cells alone: the vision encoder without the text."""
        self.model.model.visual(batch.pixels, grid_thw=batch.grids)
        return self._cell_loss(batch)

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
        reading = cross_entropy(logits.float(), batch.wanted[said])
        following = batch.places.roll(-1, dims=1)
        following[:, -1] = NOWHERE
        places = self._place_loss(_LAYER_HERE, batch.places, is_image)
        places = places + self._place_loss(_LAYER_NEXT, following, is_image)
        self._looks.clear()
        return Losses(reading, self._cell_loss(batch), places)

    def _keep_features(
        self, module: nn.Module, inputs: Any, output: torch.Tensor
    ) -> None:
        self._features = output

    def _cell_loss(self, batch: Batch) -> torch.Tensor:
        assert self._features is not None
        guesses = self.cell_head(self._features).reshape(-1, NUM_CLASSES)
        wanted = batch.cells.reshape(-1)
        weight = torch.where(wanted > 0, 1.0, _EMPTY_WEIGHT)
        losses = cross_entropy(guesses.float(), wanted, reduction="none")
        self._features = None
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
            if module.layer_idx in (_LAYER_HERE, _LAYER_NEXT):
                # The first head of the layer: [B, T, T].
                self._looks[module.layer_idx] = scores[:, 0]
            scores = scores + self._causal(scores)
        attended = scores.softmax(dim=-1) @ value
        return attended.transpose(1, 2), None

    def _causal(self, scores: torch.Tensor) -> torch.Tensor:
        length = scores.shape[-1]
        if self._mask.shape[-1] < length:
            self._mask = scores.new_full((length, length), float("-inf")).triu(1)
        return self._mask[:length, :length]

    def _place_loss(
        self, layer: int, places: torch.Tensor, is_image: torch.Tensor
    ) -> torch.Tensor:
        """How far the head is from looking at the right cell, among all cells."""
        looks = self._looks[layer].float()
        looks = looks.masked_fill(~is_image[:, None, :], float("-inf"))
        # Cells follow one another after the tokens that open the turn.
        first = is_image.int().argmax(dim=1, keepdim=True)
        known = places != NOWHERE
        return cross_entropy(looks[known], (places + first)[known])
