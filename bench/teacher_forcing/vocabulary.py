"""Vocabulary of Chandra, which is that of Qwen up to version 3."""

from __future__ import annotations

import unicodedata
from importlib.util import find_spec
from pathlib import Path

import tiktoken
from tiktoken.load import load_tiktoken_bpe

__all__ = ["QwenVocabulary"]

# Pre-tokenizer of Qwen 2 and 3: each digit is separate.
_SPLIT = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)


class QwenVocabulary:
    """DraftTokenizer with the ranks of the package dashscope."""

    name = "Qwen"

    def __init__(self) -> None:
        ranks = load_tiktoken_bpe(str(_ranks_path()))
        self._encoding = tiktoken.Encoding(
            "qwen", pat_str=_SPLIT, mergeable_ranks=ranks, special_tokens={}
        )

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._encoding.encode_ordinary(
            unicodedata.normalize("NFC", text)
        )
        return ids

    def decode(self, ids: list[int]) -> str:
        return str(self._encoding.decode(ids))


def _ranks_path() -> Path:
    # Find the package without importing it, because it is a web client.
    package = find_spec("dashscope")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(
            "no Qwen vocabulary: run make test, or pip install --no-deps dashscope"
        )
    return Path(package.submodule_search_locations[0], "resources", "qwen.tiktoken")
