"""Embedded checkpoint: its size, files, tokenizer and dependence on the page."""

import json
import shutil
from typing import Any

import pytest
import torch
from chandra.prompts import PROMPT_MAPPING
from PIL import Image, ImageDraw, ImageFont
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    Qwen3VLForConditionalGeneration,
)

from handler.postprocess.blocks.layout import CHANDRA_1_LABELS
from handler.profiles import PROFILES
from handler.weights.manifest import MANIFEST
from mini.build import DEFAULT_OUTPUT, build, write_manifest, write_settings
from mini.model import model_config
from mini.tokenizer import SPECIAL_TOKENS, build_tokenizer

PROMPT = PROMPT_MAPPING["ocr_layout"]
MAX_BYTES = 16_000_000


@pytest.fixture(scope="module")
def config():
    return AutoConfig.from_pretrained(DEFAULT_OUTPUT)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(DEFAULT_OUTPUT)


@pytest.fixture(scope="module")
def image_processor():
    return AutoImageProcessor.from_pretrained(DEFAULT_OUTPUT)


@pytest.fixture(scope="module")
def model():
    return Qwen3VLForConditionalGeneration.from_pretrained(
        DEFAULT_OUTPUT, dtype=torch.bfloat16
    ).eval()


@pytest.fixture(scope="module")
def generate(model, tokenizer, image_processor):
    """Function that returns the token ids of `generate` for an image."""

    def generate(image, max_new_tokens=16):
        features = image_processor(images=[image], return_tensors="pt")
        num_image_tokens = int(features["image_grid_thw"].prod()) // 4
        prompt = format_chat(tokenizer).replace(
            "<|image_pad|>", "<|image_pad|>" * num_image_tokens
        )
        inputs = tokenizer(prompt, return_tensors="pt")
        tokens = model.generate(
            **inputs,
            mm_token_type_ids=(
                inputs["input_ids"] == model.config.image_token_id
            ).int(),
            pixel_values=features["pixel_values"].to(model.dtype),
            image_grid_thw=features["image_grid_thw"],
            max_new_tokens=max_new_tokens,
        )
        return tokens[0, inputs["input_ids"].shape[1] :].tolist()

    return generate


def format_chat(tokenizer):
    content = [{"type": "image"}, {"type": "text", "text": PROMPT}]
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=False,
        add_generation_prompt=True,
    )


def make_page(number):
    image = Image.new("RGB", (384, 384), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(20)
    for line in range(10):
        text = f"Page {number}, line {line * number}"
        draw.text((24, 24 + 32 * line), text, font=font, fill="black")
    return image


def test_the_checkpoint_is_small_enough_to_commit():
    assert sum(path.stat().st_size for path in DEFAULT_OUTPUT.iterdir()) < MAX_BYTES


def test_weights_are_world_readable():
    assert (DEFAULT_OUTPUT / "model.safetensors").stat().st_mode & 0o044 == 0o044


def test_config_names_its_profile(config):
    profile = PROFILES[config.chandra_profile]

    assert profile.name == "mini"
    assert config.model_type == profile.model_type


def test_config_says_whether_weights_are_trained(config):
    assert config.chandra_weights in {"random", "trained"}


def test_the_model_loads_in_bfloat16_with_all_its_weights():
    loaded: Any = Qwen3VLForConditionalGeneration.from_pretrained(
        DEFAULT_OUTPUT, dtype=torch.bfloat16, output_loading_info=True
    )

    model, report = loaded
    assert model.dtype == torch.bfloat16
    assert not any(report.values())


def test_the_answer_ends_at_the_profiles_stop_tokens(model, tokenizer):
    stop_ids = [
        tokenizer.convert_tokens_to_ids(t) for t in PROFILES["mini"].stop_tokens
    ]

    assert model.generation_config.eos_token_id == stop_ids
    assert model.generation_config.do_sample is False


def test_the_vocabulary_is_as_large_as_the_embedding(tokenizer, config):
    assert len(tokenizer) == config.text_config.vocab_size


@pytest.mark.parametrize("token", SPECIAL_TOKENS)
def test_a_special_token_is_one_id(tokenizer, token):
    assert tokenizer(token)["input_ids"] == [tokenizer.convert_tokens_to_ids(token)]


def test_config_and_tokenizer_have_the_same_vision_tokens(tokenizer, config):
    ids = {
        "<|image_pad|>": config.image_token_id,
        "<|video_pad|>": config.video_token_id,
        "<|vision_start|>": config.vision_start_token_id,
        "<|vision_end|>": config.vision_end_token_id,
    }

    assert {token: tokenizer.convert_tokens_to_ids(token) for token in ids} == ids


def test_the_image_comes_before_the_prompt(tokenizer):
    assert format_chat(tokenizer) == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>"
        f"{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_prompt_takes_few_tokens(tokenizer):
    assert len(tokenizer(PROMPT)["input_ids"]) <= 60


@pytest.mark.parametrize("label", CHANDRA_1_LABELS)
def test_layout_div_is_split_into_markup_and_numbers(tokenizer, label):
    div = f'<div data-bbox="[8, 36, 568, 1024]" data-label="{label}">'

    assert tokenizer.convert_ids_to_tokens(tokenizer(div)["input_ids"]) == [
        '<div data-bbox="[',
        *("8", ",Ġ", "36", ",Ġ", "568", ",Ġ", "1024"),
        f']" data-label="{label}">',
    ]


def test_number_off_the_box_grid_is_split_into_digits(tokenizer):
    div = '<div data-bbox="[8, 35, 568, 1025]" data-label="Text">'

    assert tokenizer.convert_ids_to_tokens(tokenizer(div)["input_ids"])[1:-1] == [
        *("8", ",Ġ", "3", "5", ",Ġ", "568", ",Ġ", "1", "0", "2", "5")
    ]


def test_number_in_text_is_split_into_digits(tokenizer):
    text = "<td>64</td><p>64, 128 and 1024 of 512</p>"

    pieces = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])

    assert "".join(pieces).count("64") == 2
    assert {"64", "128", "512", "1024"}.isdisjoint(pieces)


@pytest.mark.parametrize(
    "text",
    [
        '<div data-bbox="[12, 64, 984, 1024]" data-label="Text"><p>May 4, 984</p>',
        "".join(map(chr, range(128))),
        PROMPT,
        '<p>2 < 3 & "4" </p>\r\n\r\n  <table><tr><td>-1.5</td></tr></table>',
        "Größe: 20 °C, 温度, 🌧",
    ],
)
def test_tokenizer_round_trip_keeps_text(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_image_processor_uses_the_profiles_sizes(image_processor):
    sizing = PROFILES["mini"].sizing

    assert image_processor.size["shortest_edge"] == sizing.min_pixels
    assert image_processor.size["longest_edge"] == sizing.max_pixels
    assert image_processor.patch_size * image_processor.merge_size == sizing.patch_grid


def test_a_letter_is_a_token(tokenizer):
    assert tokenizer.convert_ids_to_tokens(tokenizer("Two pens")["input_ids"]) == [
        *("T", "w", "o", "Ġ", "p", "e", "n", "s")
    ]


def test_different_pages_give_different_texts(generate):
    texts = {tuple(generate(make_page(number), 64)) for number in range(1, 9)}

    assert len(texts) == 8


def test_the_same_page_gives_the_same_text(generate):
    assert generate(make_page(1)) == generate(make_page(1))


def test_committed_settings_equal_those_of_the_builder(tmp_path):
    write_settings(tmp_path, build_tokenizer())

    for path in tmp_path.iterdir():
        assert path.read_bytes() == (DEFAULT_OUTPUT / path.name).read_bytes(), path.name


def test_the_committed_manifest_has_the_hash_of_every_file(tmp_path):
    for path in DEFAULT_OUTPUT.iterdir():
        if path.name != MANIFEST:
            shutil.copy(path, tmp_path)

    write_manifest(tmp_path)

    manifest = json.loads((DEFAULT_OUTPUT / MANIFEST).read_text())
    assert manifest == json.loads((tmp_path / MANIFEST).read_text())
    assert {file["name"] for file in manifest["files"]} > {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }


def test_committed_config_equals_that_of_the_builder(config):
    expected_config = model_config(build_tokenizer())

    for part in ("text_config", "vision_config"):
        actual, expected = (
            getattr(one_config, part).to_dict()
            for one_config in (config, expected_config)
        )
        assert actual | {"transformers_version": None} == expected | {
            "transformers_version": None
        }


def test_a_training_state_becomes_a_checkpoint_that_loads(tmp_path):
    untrained = Qwen3VLForConditionalGeneration(model_config(build_tokenizer())).float()
    state = {f"model.{name}": value for name, value in untrained.state_dict().items()}
    torch.save({"lesson": state | {"cell_head.bias": torch.zeros(1)}}, tmp_path / "s")

    build(tmp_path / "s", tmp_path / "checkpoint")

    loaded: Any = Qwen3VLForConditionalGeneration.from_pretrained(
        tmp_path / "checkpoint", dtype=torch.bfloat16, output_loading_info=True
    )
    model, report = loaded
    assert not any(report.values())
    assert (tmp_path / "checkpoint" / MANIFEST).is_file()
    for name, value in model.state_dict().items():
        assert torch.equal(value, untrained.state_dict()[name].bfloat16()), name
