"""Whether the server can be handed to somebody without rights."""

from __future__ import annotations

import pytest

from server.privileges import can_hand_over, unreadable

SOMEBODY = 10001


def status(uid: int, capabilities: int) -> str:
    return f"Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{capabilities:016x}\n"


def test_root_with_dockers_usual_rights_can():
    assert can_hand_over(status(0, 0xA80425FB))


def test_root_without_rights_cannot():
    assert not can_hand_over(status(0, 0))


def test_somebody_else_cannot():
    assert not can_hand_over(status(10001, 0xA80425FB))


@pytest.mark.parametrize("number", [0, 1, 5, 6, 7])
def test_every_right_is_needed(number):
    assert not can_hand_over(status(0, 0xA80425FB & ~(1 << number)))


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "model"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "config.json").write_text("{}")
    folder.chmod(0o755)
    (folder / "below").chmod(0o755)
    (folder / "below" / "config.json").chmod(0o644)
    return folder


def test_weights_that_everybody_can_read_are_fine(weights):
    assert unreadable(weights, SOMEBODY) is None


def test_a_file_for_its_owner_only_is_named(weights):
    file = weights / "below" / "config.json"
    file.chmod(0o600)

    assert unreadable(weights, SOMEBODY) == file
    assert unreadable(weights, file.stat().st_uid) is None


def test_a_folder_nobody_else_can_enter_is_named(weights):
    (weights / "below").chmod(0o744)

    assert unreadable(weights, SOMEBODY) == weights / "below"


def test_no_weights_are_no_trouble(tmp_path):
    assert unreadable(tmp_path / "nothing", SOMEBODY) is None
