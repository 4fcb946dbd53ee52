"""Prompts of the model, taken from the chandra-ocr release it was trained with."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

from handler.errors import ModelLoadError
from handler.profiles import Profile

__all__ = ["IMAGE_TOKEN", "chat", "load_prompts"]

IMAGE_TOKEN = "<|image_pad|>"


def load_prompts(profile: Profile) -> Mapping[str, str]:
    """Return the prompt of each prompt type.

    Raises ModelLoadError if chandra-ocr is missing or is another release than the
    profile needs.
    """
    required = profile.prompt_package
    install = f"pip install --no-deps chandra-ocr=={required}"
    try:
        installed = importlib.metadata.version("chandra-ocr")
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelLoadError(
            f"the profile {profile.name} needs the prompts of chandra-ocr {required}, "
            f"which is not installed: {install}"
        ) from error
    if installed != required:
        raise ModelLoadError(
            f"the profile {profile.name} needs the prompts of chandra-ocr {required}, "
            f"but {installed} is installed, whose boxes have another format: {install}"
        )
    from chandra.prompts import PROMPT_MAPPING

    return dict(PROMPT_MAPPING)


def chat(prompt: str, num_image_tokens: int) -> str:
    """Return the chat text of one user turn: the image, the prompt, the reply's start.

    `num_image_tokens` is the number of tokens that the page takes.
    """
    image = f"<|vision_start|>{IMAGE_TOKEN * num_image_tokens}<|vision_end|>"
    return f"<|im_start|>user\n{image}{prompt}<|im_end|>\n<|im_start|>assistant\n"
