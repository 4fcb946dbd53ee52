"""Preparation of prompts for the text model: tokens, positions and encoded images."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import torch

from handler.engine.device.model import Model
from handler.engine.device.text_forward import Deepstack
from handler.engine.device.transfer import copy_to
from handler.engine.device.vision.attention import Attend
from handler.engine.device.vision.forward import PartialEncoding, VisionForward
from handler.engine.request import EngineRequest

__all__ = ["Encoded", "Encoder", "TorchPrompt"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Encoded prompt on the device. It has n tokens, v of them visual."""

    embeddings: torch.Tensor
    """[n, hidden]"""
    deepstack: list[torch.Tensor]
    """[v, hidden] for each of the first layers."""
    visual_at: list[int]
    """[v] index of each visual token among the n, ascending; on the host."""

    def select_deepstack(self, start: int, end: int) -> Deepstack | None:
        """Return the deepstack features of tokens `start` to `end`.

        None if none of them is visual. Does not wait for the device.
        """
        first = bisect_left(self.visual_at, start)
        last = bisect_left(self.visual_at, end)
        if first == last:
            return None
        indices = [index - start for index in self.visual_at[first:last]]
        rows: slice | torch.Tensor = slice(indices[0], indices[-1] + 1)
        if indices[-1] - indices[0] != last - first - 1:
            rows = copy_to(self.embeddings.device, torch.tensor(indices))
        return Deepstack(rows, [layer[first:last] for layer in self.deepstack])


@dataclass(eq=False, slots=True)
class TorchPrompt:
    """Tokenised prompt of a page. Its image is encoded later, in slices."""

    request: EngineRequest = field(repr=False)
    input_ids: torch.Tensor = field(repr=False)
    """[n] on the device."""
    positions: torch.Tensor = field(repr=False)
    """[3, n] on the device: time, height and width of each token."""
    is_image: torch.Tensor = field(repr=False)
    """[n] on the host, so that reading it does not wait for the device."""
    visual_at: list[int] = field(repr=False)
    """[v] index of each visual token among the n, ascending; on the host."""
    last_token: int
    grid: tuple[int, int, int]
    """Frames, rows and columns of patches."""
    rope_delta: int
    """A later token's position is its index plus this, on all three axes."""
    encoded: Encoded | None = field(default=None, repr=False)
    encoding: PartialEncoding | None = field(default=None, repr=False)
    """The image between two slices of its encoding."""

    @property
    def num_tokens(self) -> int:
        return len(self.is_image)

    @property
    def is_encoded(self) -> bool:
        return self.encoded is not None

    @property
    def num_patches(self) -> int:
        return math.prod(self.grid)

    def release_image(self) -> None:
        """Release the encoded image, complete or not."""
        self.encoded = self.encoding = None


class Encoder:
    """Tokenises prompts, and encodes their images in slices.

    A slice is about as much work as a prefill of `slice_tokens` tokens. `attend`
    replaces the attention kernel in tests.
    """

    def __init__(
        self, model: Model, slice_tokens: int = 1024, attend: Attend | None = None
    ) -> None:
        self._model = model
        self._module = model.module.model
        self._vision = VisionForward(self._module.visual, attend)
        text = self._module.language_model.config
        self._slice_flops = slice_tokens * _token_flops(text)

    @torch.inference_mode()
    def tokenise(self, request: EngineRequest) -> TorchPrompt:
        """Tokenise a page's prompt; `encode` encodes its image.

        Raises InvalidOptionError if the prompt is too long.
        """
        input_ids, grid = self._model.tokenise(request.page, request.prompt)
        is_image = input_ids == self._model.image_token_id
        positions, rope_delta = self._module.get_rope_index(
            input_ids[None],
            mm_token_type_ids=is_image[None].int(),
            image_grid_thw=torch.tensor([grid]),
        )
        return TorchPrompt(
            request=request,
            input_ids=copy_to(self._model.device, input_ids),
            positions=copy_to(self._model.device, positions[:, 0]),
            is_image=is_image,
            visual_at=is_image.nonzero()[:, 0].tolist(),
            last_token=int(input_ids[-1]),
            grid=grid,
            rope_delta=int(rope_delta),
        )

    @torch.inference_mode()
    def encode(self, prompt: TorchPrompt) -> bool:
        """Compute the next slice of the prompt's image; return whether it is complete.

        The first slice cuts the page into patches and embeds them; the last merges them
        into tokens. Returns True at once if the image is already complete. A slice that
        fails releases the slices before it.
        """
        if prompt.encoded is not None:
            return True
        encoding, prompt.encoding = prompt.encoding, None
        if encoding is None:
            encoding = self._vision.begin(
                self._model.cut_into_patches(prompt.request.page), prompt.grid
            )
        if self._vision.advance(encoding, self.blocks_in_slice(prompt.num_patches)):
            prompt.encoded = self._insert_image(prompt, encoding)
            return True
        prompt.encoding = encoding
        return False

    def finish_encoding(self, prompt: TorchPrompt) -> Encoded:
        """Encode the slices that are missing; return the prompt with its image."""
        while prompt.encoded is None:
            self.encode(prompt)
        return prompt.encoded

    def blocks_in_slice(self, num_patches: int) -> int:
        """Return the number of encoder blocks in a slice, at least one."""
        return max(1, self._slice_flops // self._vision.block_flops(num_patches))

    def _insert_image(self, prompt: TorchPrompt, encoding: PartialEncoding) -> Encoded:
        """Embed the prompt, with the encoded image in place of the image tokens."""
        device = self._model.device
        features = self._vision.finish(encoding)
        embeddings = self._module.language_model.embed_tokens(prompt.input_ids)
        rows = copy_to(device, torch.tensor(prompt.visual_at))
        embeddings.index_copy_(0, rows, features.embeddings.to(embeddings.dtype))
        return Encoded(
            embeddings=embeddings,
            deepstack=features.deepstack,
            visual_at=prompt.visual_at,
        )


def _token_flops(text: Any) -> int:
    """Return the FLOPs of the text layers' products with weights, for one token."""
    heads = text.num_attention_heads + text.num_key_value_heads
    attention = 2 * text.hidden_size * heads * text.head_dim
    mlp = 3 * text.hidden_size * text.intermediate_size
    flops: int = 2 * text.num_hidden_layers * (attention + mlp)
    return flops
