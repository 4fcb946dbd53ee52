"""Forward pass of Qwen3-VL's vision encoder over one image, a few blocks at a time.

The weights are those of transformers' modules. Their own forward is not used for three
reasons: it waits for the device about 81 times a page, it encodes a page in one piece,
and it leaves the choice of the attention kernel to torch. Here the host computes
everything that follows from an image's size, so it never waits for the device. A page
is one image, so its patches attend to each other in one call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import embedding, linear

from handler.engine.device.transfer import copy_to
from handler.engine.device.vision.attention import Attend, VisionAttention
from handler.engine.device.vision.positions import (
    interpolate_positions,
    patch_coordinates,
)

__all__ = ["Features", "PartialEncoding", "VisionForward"]


@dataclass(frozen=True, slots=True)
class Features:
    """Encoded image of v tokens."""

    embeddings: torch.Tensor
    """[v, text width]"""
    deepstack: list[torch.Tensor]
    """[v, text width] for each of the first text layers."""


@dataclass(eq=False, slots=True)
class PartialEncoding:
    """State of an image of n patches between two blocks of the encoder."""

    hidden: torch.Tensor
    """[n, width]"""
    cos: torch.Tensor
    """[n, 1, 1, head_dim] float32"""
    sin: torch.Tensor
    """[n, 1, 1, head_dim] float32, its first half with the sign changed."""
    num_blocks: int = 0
    """Number of computed blocks."""
    deepstack: list[torch.Tensor] = field(default_factory=list)


class VisionForward:
    """Vision encoder that gives the results of transformers' `get_image_features`.

    `visual` is a Qwen3VLVisionModel. `attend` replaces the attention kernel in tests.
    """

    def __init__(self, visual: Any, attend: Attend | None = None) -> None:
        self._visual = visual
        self._weight: torch.Tensor = visual.patch_embed.proj.weight
        self._device = self._weight.device
        self.num_blocks = len(visual.blocks)
        self._attend = attend or VisionAttention(self._device)
        config = visual.config
        self._merge_size: int = config.spatial_merge_size
        self._table_side = int(config.num_position_embeddings**0.5)
        self._num_heads: int = config.num_heads
        self._deepstack_at = {
            block: number
            for number, block in enumerate(config.deepstack_visual_indexes)
        }
        # Copied to the host once, so that encoding a page does not wait for the device.
        self._inv_freq = visual.rotary_pos_emb.inv_freq.float().cpu()
        self._width: int = config.hidden_size
        self._block_parameters: int = (
            4 * config.hidden_size**2
            + 2 * config.hidden_size * config.intermediate_size
        )

    def block_flops(self, num_patches: int) -> int:
        """Return the FLOPs of one block: products with weights, and attention."""
        products = 2 * self._block_parameters * num_patches
        return products + 4 * self._width * num_patches**2

    @torch.inference_mode()
    def begin(
        self, patches: torch.Tensor, grid: tuple[int, int, int]
    ) -> PartialEncoding:
        """Embed patches [n, values] and their positions, before the first block.

        `grid` is the frames, rows and columns of patches. Raises ValueError unless
        there is one frame.
        """
        num_frames, num_rows, num_columns = grid
        if num_frames != 1:
            raise ValueError(f"an image has one frame, not {num_frames}")
        rows, columns = patch_coordinates(num_rows, num_columns, self._merge_size)
        cos, sin = self._compute_rotations(rows, columns, max(num_rows, num_columns))
        bias = self._visual.patch_embed.proj.bias
        hidden = linear(patches.to(self._weight.dtype), self._weight.flatten(1), bias)
        hidden += self._embed_positions(rows, columns, num_rows, num_columns).to(
            hidden.dtype
        )
        return PartialEncoding(hidden, cos, sin)

    @torch.inference_mode()
    def advance(self, encoding: PartialEncoding, count: int) -> bool:
        """Compute at most `count` more blocks; return whether all are computed.

        Updates `encoding` in place.
        """
        end = min(encoding.num_blocks + count, self.num_blocks)
        for number in range(encoding.num_blocks, end):
            self._run_block(self._visual.blocks[number], encoding)
            encoding.num_blocks += 1
            if (merger := self._deepstack_at.get(number)) is not None:
                merged = self._visual.deepstack_merger_list[merger](encoding.hidden)
                encoding.deepstack.append(merged)
        return end == self.num_blocks

    @torch.inference_mode()
    def finish(self, encoding: PartialEncoding) -> Features:
        """Merge patches into tokens, once all blocks are computed."""
        return Features(self._visual.merger(encoding.hidden), encoding.deepstack)

    def _run_block(self, block: Any, encoding: PartialEncoding) -> None:
        hidden = encoding.hidden
        # Nested calls, so that each result is released once the next one exists.
        hidden += block.attn.proj(
            self._compute_attention(block.attn.qkv(block.norm1(hidden)), encoding)
        )
        hidden += block.mlp(block.norm2(hidden))

    def _compute_attention(
        self, packed: torch.Tensor, encoding: PartialEncoding
    ) -> torch.Tensor:
        """Attend with queries, keys and values [n, 3 * width]; return [n, width].

        Queries and keys are rotated in place.
        """
        num_patches = len(packed)
        packed = packed.view(num_patches, 3, self._num_heads, -1)
        to_rotate = packed.narrow(1, 0, 2)
        # float32, as in transformers: the float32 tables promote the products.
        rotated = to_rotate * encoding.cos
        half = to_rotate.shape[-1] // 2
        rotated.addcmul_(to_rotate.roll(half, dims=-1), encoding.sin)
        to_rotate.copy_(rotated)
        del rotated
        query, key, value = packed.transpose(0, 2).unsqueeze(0).unbind(2)
        attended = self._attend(query, key, value)
        return attended.squeeze(0).transpose(0, 1).reshape(num_patches, -1)

    def _compute_rotations(
        self, rows: torch.Tensor, columns: torch.Tensor, num_positions: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosines and signed sines of each patch's rotation, on the device."""
        positions = torch.arange(num_positions, dtype=torch.float32)
        angles = positions[:, None] * self._inv_freq
        tables = copy_to(self._device, torch.cat([angles.cos(), angles.sin()], dim=1))
        at = copy_to(self._device, torch.stack([rows, columns], dim=1))
        # [n, 2 axes, frequencies] each: rows before columns.
        cos, sin = embedding(at, tables).chunk(2, dim=-1)
        cos, sin = cos.reshape(len(at), 1, 1, -1), sin.reshape(len(at), 1, 1, -1)
        return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)

    def _embed_positions(
        self,
        rows: torch.Tensor,
        columns: torch.Tensor,
        num_rows: int,
        num_columns: int,
    ) -> torch.Tensor:
        """Return position embeddings [n, width] in float32, on the device."""
        interpolation = interpolate_positions(
            rows, columns, num_rows, num_columns, self._table_side
        )
        indices = copy_to(self._device, interpolation.indices).unbind(0)
        weights = copy_to(self._device, interpolation.weights).unsqueeze(-1).unbind(0)
        table = self._visual.pos_embed.weight
        # One neighbour at a time: all four at once would take four times the memory.
        total = embedding(indices[0], table) * weights[0]
        for index, weight in zip(indices[1:], weights[1:], strict=True):
            total.addcmul_(embedding(index, table), weight)
        return total
