"""Prompts of the installed chandra-ocr release."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from chandra.prompts import PROMPT_MAPPING

from handler.errors import ModelLoadError
from handler.http.options import PROMPT_TYPES
from handler.profiles import PROFILES
from handler.prompts import chat, load_prompts


@pytest.mark.parametrize("name", ["chandra", "mini"])
def test_the_prompts_are_those_of_the_installed_release(name):
    assert load_prompts(PROFILES[name]) == PROMPT_MAPPING


def test_every_prompt_type_a_caller_may_ask_for_has_a_prompt():
    prompts = load_prompts(PROFILES["chandra"])

    assert set(prompts) == set(PROMPT_TYPES)
    assert all(prompts.values())


def test_wrong_release_is_refused_with_an_install_command():
    profile = replace(PROFILES["chandra"], prompt_package="9.9.9")

    with pytest.raises(ModelLoadError) as caught:
        load_prompts(profile)

    assert "the profile chandra needs" in caught.value.detail
    assert "is installed" in caught.value.detail
    assert caught.value.detail.endswith("pip install --no-deps chandra-ocr==9.9.9")


def test_missing_package_is_refused_with_an_install_command(monkeypatch):
    without_packages = [path for path in sys.path if "site-packages" not in path]
    monkeypatch.setattr(sys, "path", without_packages)

    with pytest.raises(ModelLoadError, match=r"not installed: pip .*==0\.1\.8$"):
        load_prompts(PROFILES["chandra"])


def test_chat_has_the_image_before_the_prompt():
    assert chat("Read this.", 3) == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|image_pad|><|image_pad|>"
        "<|vision_end|>Read this.<|im_end|>\n<|im_start|>assistant\n"
    )
