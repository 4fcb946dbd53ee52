"""Tokenizer with tokens of up to five letters, markup and the lines of the prompts.

Text is split into the longest pieces of `pieces.txt` from left to right: frequent
strings of two to five letters. Everything else is one token per letter, or per byte for
letters outside of European languages. Markup, the numbers of boxes and Chandra's
prompts are one token each: the model knows one task and need not understand the prompt.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
)

from mini.corpus import markup_tokens, prompt_tokens
from mini.truth import BBOX_SCALE, BBOX_STEP
from mini.words import CHARACTERS, LATIN_CHARACTERS

__all__ = [
    "NUMBERS",
    "SPECIAL_TOKENS",
    "build_tokenizer",
    "number_tokens",
    "read_pieces",
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

NUMBERS = range(5 * BBOX_STEP, BBOX_SCALE + 1, BBOX_STEP)
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
    pieces = read_pieces()
    tokens = [*alphabet, _JOINED_SEPARATOR, *map(str, NUMBERS), *map(_as_token, pieces)]
    longest_first = sorted(pieces, key=len, reverse=True)
    pattern = "|".join(
        [_NUMBER, _SEPARATOR, *(re.escape(piece) for piece in longest_first), "."]
    )
    vocabulary = {token: index for index, token in enumerate(tokens)}
    # Without merges, a piece of the pre-tokenizer is one token or its bytes.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
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
            for text in (*markup_tokens(), *prompt_tokens())
        ]
    )
    return tokenizer


@functools.cache
def read_pieces() -> tuple[str, ...]:
    """Return all strings of text that are one token each but several bytes."""
    path = Path(__file__).with_name("pieces.txt")
    pieces = path.read_text("utf-8").splitlines()
    spaced = [f" {character}" for character in CHARACTERS]
    letters = [letter for letter in LATIN_CHARACTERS if not letter.isascii()]
    return tuple(dict.fromkeys([*letters, *spaced, *pieces]))


def _as_token(text: str) -> str:
    """Return the text in the notation of byte-level vocabularies."""
    (token,) = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    ).pre_tokenize_str(text)
    return token[0]


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
