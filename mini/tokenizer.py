"""The tokenizer: a token a byte, and whole tokens for what Chandra's pages repeat.

Letters stand alone, because they are what the model reads. Markup is whole, and so
is every line of Chandra's own prompts: 1,800 characters take some forty tokens.
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

from mini.corpus import markup, prompt_lines

__all__ = [
    "SPECIAL_TOKENS",
    "build_tokenizer",
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

# A box's numbers are its digits and three separators; no other bytes are joined.
_SEPARATOR = r", (?=\p{N})"

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


def build_tokenizer() -> Tokenizer:
    """The vocabulary, the same each time: nothing in it is learnt."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*alphabet, ",\u0120"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[(",", "\u0120")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(f"{_SEPARATOR}|."), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token in SPECIAL_TOKENS]
    )
    tokenizer.add_tokens(
        [AddedToken(text, normalized=False) for text in (*markup(), *prompt_lines())]
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
