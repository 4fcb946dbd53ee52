"""Profiles of the model lines, and the consistency of their values."""

from __future__ import annotations

import dataclasses

import pytest

from handler.profiles import PROFILES, BboxFormat


def test_there_are_three_model_lines():
    assert list(PROFILES) == ["chandra", "chandra-2", "mini"]


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_found_by_its_own_name(name):
    assert PROFILES[name].name == name


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_boxes_and_prompts_come_from_the_same_release(profile):
    formats = {"0.1.8": BboxFormat.JSON_1024, "0.2.0": BboxFormat.SPACED_1000}

    assert profile.bbox_format is formats[profile.prompt_package]


def test_mini_has_prompts_boxes_and_stop_tokens_of_chandra():
    chandra, mini = PROFILES["chandra"], PROFILES["mini"]

    assert mini.model_type == chandra.model_type
    assert mini.prompt_package == chandra.prompt_package
    assert mini.bbox_format is chandra.bbox_format
    assert mini.stop_tokens == chandra.stop_tokens


def test_weights_without_a_profile_are_not_mini():
    fitting = [p.name for p in PROFILES.values() if p.model_type == "qwen3_vl"]

    assert fitting[0] == "chandra"


@pytest.mark.parametrize(
    ("bbox_format", "scale"),
    [(BboxFormat.JSON_1024, 1024), (BboxFormat.SPACED_1000, 1000)],
)
def test_each_box_format_has_its_scale(bbox_format, scale):
    assert bbox_format.scale == scale


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_size_limits_of_a_profile_are_consistent(profile):
    sizing = profile.sizing

    assert 0 < sizing.min_pixels <= sizing.max_pixels
    assert sizing.patch_grid**2 <= sizing.max_pixels
    assert sizing.max_side is None


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_profile_is_immutable(profile):
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.max_output_tokens = 1
