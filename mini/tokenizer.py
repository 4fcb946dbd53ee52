"""Tokenizer with one token per byte, and whole tokens for frequent strings.

Each letter is a token, because the model reads letters. Markup, the numbers of boxes
and the lines of Chandra's prompts are one token each, so that 1,800 characters of
prompt take about forty tokens.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
)

from mini.corpus import markup_tokens, prompt_lines
from mini.truth import BBOX_SCALE, BBOX_STEP

__all__ = [
    "NUMBERS",
    "SPECIAL_TOKENS",
    "build_tokenizer",
    "number_tokens",
    "save_tokenizer",
    "token_id",
]

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

NUMBERS = range(3 * BBOX_STEP, BBOX_SCALE + 1, BBOX_STEP)
"""Numbers of boxes that are one token each; smaller numbers have only one digit."""

# Between two tokens of markup there are usually only the four numbers of a box. Text
# that ends in ", 64" is split in the same way, and decodes to the same text.
_NUMBER = r"^\d+(?=(?:, \d+){3}$)|(?<=, )\d+(?=(?:, \d+){0,2}$)"
_SEPARATOR = r", (?=\p{N})"
_JOINED_SEPARATOR = ",\u0120"

# The same format as Qwen3-VL's own template without tools.
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


def build_tokenizer() -> Tokenizer:
    """Build the tokenizer. Its vocabulary is fixed, not learnt."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, _JOINED_SEPARATOR, *map(str, NUMBERS)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    # Without merges, a piece of the pre-tokenizer is one token or its bytes.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(f"{_NUMBER}|{_SEPARATOR}|."), behavior="isolated"
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token in SPECIAL_TOKENS]
    )
    tokenizer.add_tokens(
        [
            AddedToken(text, normalized=False)
            for text in (*markup_tokens(), *prompt_lines())
        ]
    )
    return tokenizer


def token_id(tokenizer: Tokenizer, token: str) -> int:
    index: int | None = tokenizer.token_to_id(token)
    if index is None:
        raise KeyError(f"{token} is not in the vocabulary")
    return index


def number_tokens(tokenizer: Tokenizer) -> range:
    """Return the token ids of `NUMBERS`, which are consecutive."""
    start = token_id(tokenizer, str(NUMBERS[0]))
    return range(start, start + len(NUMBERS))


def save_tokenizer(tokenizer: Tokenizer, directory: Path, *, max_length: int) -> None:
    """Write the files that `AutoTokenizer.from_pretrained(directory)` reads."""
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    config = {
        # Qwen2Tokenizer would replace our pre-tokenizer by its own.
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
