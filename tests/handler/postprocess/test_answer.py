"""Extraction of the page from the model's output: reasoning and fences."""

from __future__ import annotations

import pytest

from tests.handler.postprocess.pages import TWO_BLOCKS, convert, make_block


def test_reasoning_is_removed_with_a_warning():
    content = convert("The page has a <b>title</b>.\n</think>\n" + TWO_BLOCKS)

    assert content.blocks == convert(TWO_BLOCKS).blocks
    assert [warning.code for warning in content.warnings] == ["reasoning_removed"]


@pytest.mark.parametrize("prefix", ["<think>", "<think>\nHm. <div>?</div></think>"])
def test_reasoning_after_think_tag_is_removed_even_if_unclosed(prefix):
    assert convert(prefix + TWO_BLOCKS).blocks == convert(TWO_BLOCKS).blocks


def test_answer_with_only_reasoning_is_an_empty_page():
    content = convert("<think>The page shows a ship, and")

    assert content.blocks == ()
    assert [warning.code for warning in content.warnings] == ["reasoning_removed"]


def test_think_tag_inside_a_block_removes_no_text():
    content = convert(make_block("one </think> two"))

    assert content.text == "one two"
    assert content.warnings == ()


@pytest.mark.parametrize(
    "fence", ["```html\n{}\n```", "```\n{}\n```\n", "\n```HTML\n{}"]
)
def test_fence_around_the_page_is_removed(fence):
    assert convert(fence.format(TWO_BLOCKS)) == convert(TWO_BLOCKS)
