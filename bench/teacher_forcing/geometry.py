"""Models with random weights, whose output is meaningless but whose cost is real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import AutoModelForImageTextToText, Qwen3VLConfig

from bench.teacher_forcing.lengths import Lengths
from bench.teacher_forcing.tokenizer import SPECIAL_TOKENS, QwenTokenizer
from handler.engine.device.model import Model
from handler.engine.device.vision.patch_embedding import replace_convolutions
from handler.profiles import PROFILES, Profile

__all__ = ["GEOMETRIES", "Geometry", "empty_module", "random_model"]

_VOCABULARY = 151_936
_SEED = 1


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of a Qwen3-VL model, of its pages and of their answers."""

    name: str
    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    profile: Profile
    """Profile with the sizing of the pages."""
    lengths: Lengths
    small_cache_bytes: int
    """KV cache of a 24 GB card, or a similarly small one for small pages."""

    def config(self) -> Qwen3VLConfig:
        return Qwen3VLConfig(
            text_config={
                **self.text,
                "vocab_size": _VOCABULARY,
                "pad_token_id": SPECIAL_TOKENS["<|endoftext|>"],
            },
            vision_config={
                **self.vision,
                "patch_size": 16,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                "out_hidden_size": self.text["hidden_size"],
            },
            image_token_id=SPECIAL_TOKENS["<|image_pad|>"],
            vision_start_token_id=SPECIAL_TOKENS["<|vision_start|>"],
            vision_end_token_id=SPECIAL_TOKENS["<|vision_end|>"],
            tie_word_embeddings=False,
        )


def _rope(theta: float, *sections: int) -> dict[str, Any]:
    return {
        "rope_type": "default",
        "rope_theta": theta,
        "mrope_section": list(sections),
        "mrope_interleaved": True,
    }


CHANDRA = Geometry(
    name="chandra",
    text={
        "hidden_size": 4096,
        "intermediate_size": 12_288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262_144,
        "rope_parameters": _rope(5_000_000.0, 24, 20, 20),
    },
    vision={
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [8, 16, 24],
    },
    profile=PROFILES["chandra"],
    lengths=Lengths(median=950, sigma=0.65, fewest=200, most=3000),
    small_cache_bytes=int(3.9 * 2**30),
)

TINY = Geometry(
    name="tiny",
    text={
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "rope_parameters": _rope(10_000.0, 4, 2, 2),
    },
    vision={
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    },
    profile=PROFILES["mini"],
    lengths=Lengths(median=12, sigma=0.65, fewest=4, most=32),
    small_cache_bytes=5 * 900 * 256,
)

GEOMETRIES = {geometry.name: geometry for geometry in (CHANDRA, TINY)}


def empty_module(geometry: Geometry) -> Any:
    """Return the model on the meta device, but with real buffers."""
    with init_empty_weights(include_buffers=False):
        return AutoModelForImageTextToText.from_config(
            geometry.config(), dtype=torch.bfloat16, attn_implementation="sdpa"
        )


@torch.no_grad()
def random_model(
    geometry: Geometry, device: torch.device, dtype: torch.dtype = torch.bfloat16
) -> Model:
    """Return the model on a device with reproducible random weights.

    Norms are one, other weights are normally distributed. The model never generates a
    stop token; see `_silence`.
    """
    module = empty_module(geometry)
    generator = torch.Generator(device).manual_seed(_SEED)
    for owner in module.modules():
        is_norm = "Norm" in type(owner).__name__
        for name, like in list(owner.named_parameters(recurse=False)):
            weight = torch.empty(like.shape, dtype=dtype, device=device)
            if is_norm and name == "weight":
                weight.fill_(1.0)
            else:
                weight.normal_(0.0, 0.02, generator=generator)
            setattr(owner, name, nn.Parameter(weight, requires_grad=False))
        for name, buffer in list(owner.named_buffers(recurse=False)):
            setattr(owner, name, buffer.to(device))
    _silence(module.lm_head)
    replace_convolutions(module)
    profile = geometry.profile
    return Model(module.eval(), QwenTokenizer(), profile.stop_tokens)


def _silence(head: nn.Linear) -> None:
    """Prevent special tokens: their logits are 0, and 0 is never the largest logit.

    Pages then end at their forced length in every engine.
    """
    head.weight[min(SPECIAL_TOKENS.values()) :] = 0.0
