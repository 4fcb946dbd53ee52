"""Count of answers that change with drafts."""

from __future__ import annotations

from bench.draft_agreement import Agreement, compare_answers


def test_changes_of_boxes_and_of_text_are_distinguished():
    before = {
        "same": '<p data-bbox="1 2 3 4">a</p>',
        "box": '<p data-bbox="1 2 3 4">b</p>',
        "digit": '<p data-bbox="1 2 3 4">7</p>',
    }
    after = {
        "same": '<p data-bbox="1 2 3 4">a</p>',
        "box": '<p data-bbox="1 2 3 5">b</p>',
        "digit": '<p data-bbox="1 2 3 4">1</p>',
    }

    assert compare_answers(before, after) == Agreement(
        num_pages=3, num_changed=2, num_changed_outside_boxes=1
    )
