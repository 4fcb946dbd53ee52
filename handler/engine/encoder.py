"""A page's prompt as the text model takes it: tokens, positions, an encoded image."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

import torch

from handler.engine.model import Model
from handler.engine.sequence import Sequence
from handler.engine.text_forward import Deepstack

__all__ = ["Encoded", "Encoder", "TorchPrompt"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt on the device. Sizes: n tokens, v of them visual."""

    embeddings: torch.Tensor
    """[n, hidden]"""
    deepstack: list[torch.Tensor]
    """[v, hidden] for each of the first layers."""
    visual_at: list[int]
    """[v] the number of each visual token among the n, ascending; on the host."""

    def deepstack_of(self, start: int, end: int) -> Deepstack | None:
        """Return what deepstack adds to tokens `start` to `end`, and to which of them.

        None where none of them is visual. Waits for nothing on the device.
        """
        first = bisect_left(self.visual_at, start)
        last = bisect_left(self.visual_at, end)
        if first == last:
            return None
        numbers = [number - start for number in self.visual_at[first:last]]
        rows: slice | torch.Tensor = slice(numbers[0], numbers[-1] + 1)
        if numbers[-1] - numbers[0] != last - first - 1:
            rows = torch.tensor(numbers).to(self.embeddings.device, non_blocking=True)
        return Deepstack(rows, [layer[first:last] for layer in self.deepstack])


@dataclass(eq=False, slots=True)
class TorchPrompt:
    """A page's prompt: what is cheap at once, the image when it is needed."""

    sequence: Sequence = field(repr=False)
    input_ids: torch.Tensor = field(repr=False)
    """[n] on the device."""
    positions: torch.Tensor = field(repr=False)
    """[3, n] on the device: time, height and width of each token."""
    is_image: torch.Tensor = field(repr=False)
    """[n] on the host, where a look at it waits for nothing."""
    last_token: int
    grid: tuple[int, int, int]
    """Frames, rows and columns of patches."""
    rope_delta: int
    """A later token's position is its number plus this, on all three axes."""
    encoded: Encoded | None = field(default=None, repr=False)

    @property
    def num_tokens(self) -> int:
        return len(self.is_image)


class Encoder:
    """Tokenises prompts, and runs the vision encoder apart from the text model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._module = model.module.model

    @torch.inference_mode()
    def prompt_from(self, sequence: Sequence) -> TorchPrompt:
        """Tokenise; the image is left for `encoded`."""
        on_device, grid = self._model.tokens_from(sequence.page, sequence.prompt)
        input_ids = on_device.cpu()
        is_image = input_ids == self._model.image_token_id
        positions, rope_delta = self._module.get_rope_index(
            input_ids[None],
            mm_token_type_ids=is_image[None].int(),
            image_grid_thw=torch.tensor([grid]),
        )
        return TorchPrompt(
            sequence=sequence,
            input_ids=on_device,
            positions=positions[:, 0].to(self._model.device),
            is_image=is_image,
            last_token=int(input_ids[-1]),
            grid=grid,
            rope_delta=int(rope_delta),
        )

    def encoded(self, prompt: TorchPrompt) -> Encoded:
        """The prompt with its image, encoded once and kept with it."""
        if prompt.encoded is None:
            prompt.encoded = self._encode(prompt)
        return prompt.encoded

    def _encode(self, prompt: TorchPrompt) -> Encoded:
        device = self._model.device
        features = self._module.get_image_features(
            self._model.pixel_values_of(prompt.sequence.page),
            torch.tensor([prompt.grid], device=device),
            return_dict=True,
        )
        is_image = prompt.is_image.to(device)
        embeddings = self._module.language_model.embed_tokens(prompt.input_ids)
        pictures = torch.cat(list(features.pooler_output)).to(embeddings.dtype)
        return Encoded(
            embeddings=embeddings.masked_scatter(is_image[:, None], pictures),
            deepstack=[_joined(layer) for layer in features.deepstack_features],
            visual_at=prompt.is_image.nonzero()[:, 0].tolist(),
        )


def _joined(layer: torch.Tensor | Seq[torch.Tensor]) -> torch.Tensor:
    return layer if isinstance(layer, torch.Tensor) else torch.cat(list(layer))
