"""Checks whether the server can run as an unprivileged user."""

from __future__ import annotations

import pytest

from server.host import can_switch_user, find_unreadable_path

USER = 10001


def proc_status(uid: int, capabilities: int) -> str:
    return f"Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{capabilities:016x}\n"


def test_root_with_dockers_default_capabilities_can_switch():
    assert can_switch_user(proc_status(0, 0xA80425FB))


def test_root_without_capabilities_cannot_switch():
    assert not can_switch_user(proc_status(0, 0))


def test_other_user_cannot_switch():
    assert not can_switch_user(proc_status(10001, 0xA80425FB))


@pytest.mark.parametrize("number", [0, 1, 5, 6, 7])
def test_every_capability_is_needed(number):
    assert not can_switch_user(proc_status(0, 0xA80425FB & ~(1 << number)))


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "model"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "config.json").write_text("{}")
    folder.chmod(0o755)
    (folder / "below").chmod(0o755)
    (folder / "below" / "config.json").chmod(0o644)
    return folder


def test_world_readable_weights_are_accepted(weights):
    assert find_unreadable_path(weights, USER) is None


def test_file_readable_only_by_its_owner_is_returned(weights):
    file = weights / "below" / "config.json"
    file.chmod(0o600)

    assert find_unreadable_path(weights, USER) == file
    assert find_unreadable_path(weights, file.stat().st_uid) is None


def test_folder_that_others_cannot_enter_is_returned(weights):
    (weights / "below").chmod(0o744)

    assert find_unreadable_path(weights, USER) == weights / "below"


def test_missing_folder_has_no_unreadable_path(tmp_path):
    assert find_unreadable_path(tmp_path / "nothing", USER) is None
