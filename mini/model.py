"""Configuration of the model: Qwen3-VL's architecture with seven million parameters.

It has the same features that make the real model difficult to serve: grouped-query
attention, interleaved M-RoPE, deepstack features and images of any size.
"""

from __future__ import annotations

from tokenizers import Tokenizer
from transformers import GenerationConfig, Qwen3VLConfig

from mini.tokenizer import token_id

__all__ = ["MAX_LENGTH", "generation_config", "model_config"]

MAX_LENGTH = 8192


def model_config(tokenizer: Tokenizer) -> Qwen3VLConfig:
    """Return the model's configuration, with the keys that the handler reads."""
    hidden_size = 256
    config = Qwen3VLConfig(
        architectures=["Qwen3VLForConditionalGeneration"],
        dtype="bfloat16",
        text_config={
            "vocab_size": tokenizer.get_vocab_size(),
            "hidden_size": hidden_size,
            "intermediate_size": 512,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "max_position_embeddings": MAX_LENGTH,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 100_000.0,
                "mrope_section": [12, 10, 10],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            "initializer_range": 0.04,
            "pad_token_id": token_id(tokenizer, "<|endoftext|>"),
            "dtype": "bfloat16",
        },
        vision_config={
            "depth": 4,
            "hidden_size": 160,
            "intermediate_size": 512,
            "num_heads": 4,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": hidden_size,
            # A grid of 32 x 32, which is interpolated to the grid of the page.
            "num_position_embeddings": 1024,
            "deepstack_visual_indexes": [1, 2],
            "initializer_range": 0.04,
            "dtype": "bfloat16",
        },
        image_token_id=token_id(tokenizer, "<|image_pad|>"),
        video_token_id=token_id(tokenizer, "<|video_pad|>"),
        vision_start_token_id=token_id(tokenizer, "<|vision_start|>"),
        vision_end_token_id=token_id(tokenizer, "<|vision_end|>"),
        tie_word_embeddings=True,
    )
    # Keys of the handler; transformers keeps unknown keys.
    config.chandra_profile = "mini"
    config.chandra_weights = "trained"
    return config


def generation_config(tokenizer: Tokenizer) -> GenerationConfig:
    """Return the settings of greedy decoding with both end tokens."""
    return GenerationConfig(
        do_sample=False,
        eos_token_id=[
            token_id(tokenizer, token) for token in ("<|im_end|>", "<|endoftext|>")
        ],
        pad_token_id=token_id(tokenizer, "<|endoftext|>"),
    )
