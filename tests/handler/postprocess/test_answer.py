"""Extraction of the page from the model's output: reasoning and fences."""

from __future__ import annotations

import pytest

from tests.handler.postprocess.pages import block, read

TWO = block("<p>one</p>") + block("<p>two</p>", "Caption")


def test_reasoning_is_cut_off_and_reported():
    content = read("The page has a <b>title</b>.\n</think>\n" + TWO)

    assert content.blocks == read(TWO).blocks
    assert [warning.code for warning in content.warnings] == ["reasoning_removed"]


@pytest.mark.parametrize("prefix", ["<think>", "<think>\nHm. <div>?</div></think>"])
def test_reasoning_that_is_opened_is_cut_off_whether_closed_or_not(prefix):
    assert read(prefix + TWO).blocks == read(TWO).blocks


def test_a_model_that_only_reasoned_read_nothing():
    content = read("<think>The page shows a ship, and")

    assert content.blocks == ()
    assert [warning.code for warning in content.warnings] == ["reasoning_removed"]


def test_a_document_cannot_wipe_out_its_page_with_a_tag():
    content = read(block("one </think> two"))

    assert content.text == "one two"
    assert content.warnings == ()


@pytest.mark.parametrize(
    "fence", ["```html\n{}\n```", "```\n{}\n```\n", "\n```HTML\n{}"]
)
def test_a_fence_around_the_page_is_stripped(fence):
    assert read(fence.format(TWO)) == read(TWO)
