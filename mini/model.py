"""The model: Qwen3-VL's architecture in six million parameters.

Everything that makes the real model awkward to serve is present: grouped-query
attention, interleaved M-RoPE, deepstack features and images of any size.
"""

from __future__ import annotations

import math

import torch
from tokenizers import Tokenizer
from transformers import (
    GenerationConfig,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from mini.tokenizer import SPECIAL_TOKENS, token_id

__all__ = ["MAX_LENGTH", "generation_config", "model_config", "random_model"]

MAX_LENGTH = 8192

_HEAD_DIM = 32

# How wide random weights are drawn: README.md, Decisions.
_PROJECTION_GAIN = 2.0
_ATTENTION_GAIN = 1.5
_EMBEDDING_WIDTH = 0.3
_BIAS_WIDTH = 0.3
_NARROWEST, _WIDEST = 0.37, 2.7
_END_GAIN = 4.0


def model_config(tokenizer: Tokenizer) -> Qwen3VLConfig:
    """The shape of the model, and what the handler wants to know about it."""
    hidden_size = 256
    config = Qwen3VLConfig(
        architectures=["Qwen3VLForConditionalGeneration"],
        dtype="bfloat16",
        text_config={
            "vocab_size": tokenizer.get_vocab_size(),
            "hidden_size": hidden_size,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": _HEAD_DIM,
            "max_position_embeddings": MAX_LENGTH,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 100_000.0,
                "mrope_section": [8, 4, 4],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            "pad_token_id": token_id(tokenizer, "<|endoftext|>"),
            "dtype": "bfloat16",
        },
        vision_config={
            "depth": 4,
            "hidden_size": 160,
            "intermediate_size": 512,
            "num_heads": 160 // _HEAD_DIM,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": hidden_size,
            # A grid of 32 x 32, interpolated to the page's.
            "num_position_embeddings": 1024,
            "deepstack_visual_indexes": [1, 2],
            "dtype": "bfloat16",
        },
        image_token_id=token_id(tokenizer, "<|image_pad|>"),
        video_token_id=token_id(tokenizer, "<|video_pad|>"),
        vision_start_token_id=token_id(tokenizer, "<|vision_start|>"),
        vision_end_token_id=token_id(tokenizer, "<|vision_end|>"),
        tie_word_embeddings=True,
    )
    # Keys of ours: transformers keeps what it does not know.
    config.chandra_profile = "mini"
    config.chandra_weights = "random"
    return config


def generation_config(tokenizer: Tokenizer) -> GenerationConfig:
    """Greedy, until the answer or the text ends."""
    return GenerationConfig(
        do_sample=False,
        eos_token_id=[
            token_id(tokenizer, token) for token in ("<|im_end|>", "<|endoftext|>")
        ],
        pad_token_id=token_id(tokenizer, "<|endoftext|>"),
    )


def random_model(
    config: Qwen3VLConfig, tokenizer: Tokenizer, *, seed: int
) -> Qwen3VLForConditionalGeneration:
    """A model whose greedy text depends on the page, in bfloat16.

    transformers' own initialisation is too narrow for that: it answers every
    page with the same token again and again.
    """
    # The config names bfloat16, in which the draws would be rounded twice.
    model = Qwen3VLForConditionalGeneration(config)
    model.float().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            parameter.copy_(_drawn(name, parameter.shape, generator))
        _tell_tokens_apart(model.lm_head.weight, tokenizer, generator)
    model.bfloat16()
    return model


def _drawn(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        return torch.full(shape, _ATTENTION_GAIN)
    if "norm" in name:
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    if "embed_tokens" in name or "pos_embed" in name:
        return _uniform(shape, _EMBEDDING_WIDTH, generator)
    if name.endswith("bias"):
        return _uniform(shape, _BIAS_WIDTH, generator)
    return _uniform(shape, _PROJECTION_GAIN / math.sqrt(shape[1:].numel()), generator)


def _uniform(
    shape: torch.Size, deviation: float, generator: torch.Generator
) -> torch.Tensor:
    # Not a normal distribution: its logarithms and cosines differ in the last
    # bit from one processor to the next, and the checkpoint would with them.
    return (torch.rand(shape, generator=generator) * 2 - 1) * (deviation * math.sqrt(3))


def _tell_tokens_apart(
    embeddings: torch.Tensor, tokenizer: Tokenizer, generator: torch.Generator
) -> None:
    """Give tokens different weight, so that the best one wins by a margin.

    The weight is the input embedding's too, for the two are tied. Of the special
    tokens only the end of the answer can win.
    """
    num_tokens = len(embeddings)
    ranks = torch.randperm(num_tokens, generator=generator)
    widths = _NARROWEST + (_WIDEST - _NARROWEST) * (ranks / (num_tokens - 1))
    for token in SPECIAL_TOKENS:
        widths[token_id(tokenizer, token)] = _END_GAIN if token == "<|im_end|>" else 0.0
    embeddings *= widths[:, None]
