"""The tokenizer: byte-level BPE with Qwen's special tokens and a small vocabulary.

Boxes are what a page's answer has most of, so a number is its digits and the
markup around it is a handful of tokens, at the same places each time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    trainers,
)

__all__ = [
    "SPECIAL_TOKENS",
    "VOCABULARY_SIZE",
    "save_tokenizer",
    "token_id",
    "train_tokenizer",
]

VOCABULARY_SIZE = 2048

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

# What may become one token, at most. The last four lines are Qwen's.
_PIECES = "|".join(
    (
        r'<div data-bbox="\[',
        r'\]" data-label="[A-Za-z-]+">',
        r"</?[a-z]+[1-5]?>",
        "', '",
        r", (?=\p{N})",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}<]?\p{L}+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}<]+[\r\n]*| ?<[^\s\p{L}\p{N}<]*",
        r"\s*[\r\n]+|\s+(?!\S)|\s+",
    )
)

# One conversation, as Qwen3-VL's own template writes it without tools.
_CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- else -%}
{{- part.text -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer with exactly `VOCABULARY_SIZE` tokens, special ones first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    size = tokenizer.get_vocab_size()
    if size != VOCABULARY_SIZE:
        raise ValueError(
            f"the corpus yields {size} tokens, not {VOCABULARY_SIZE}; "
            "add prose to mini/prose.txt"
        )
    return tokenizer


def token_id(tokenizer: Tokenizer, token: str) -> int:
    found: int | None = tokenizer.token_to_id(token)
    if found is None:
        raise KeyError(f"{token} is not in the vocabulary")
    return found


def save_tokenizer(tokenizer: Tokenizer, directory: Path, *, max_length: int) -> None:
    """Write what `AutoTokenizer.from_pretrained(directory)` reads."""
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    config = {
        # Not Qwen2Tokenizer, which would put its own splitting over ours.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "padding_side": "left",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "additional_special_tokens": [
            token
            for token in SPECIAL_TOKENS
            if token not in ("<|im_end|>", "<|endoftext|>")
        ],
        "clean_up_tokenization_spaces": False,
        "chat_template": _CHAT_TEMPLATE,
    }
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (directory / "tokenizer_config.json").write_text(text, "utf-8")
