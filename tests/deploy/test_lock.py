"""Errors of chandra.lock.json, which name that file, and its updates."""

from __future__ import annotations

import json
import os
import resource
import stat
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from deploy.config import (
    drop_from_lock,
    lock_path,
    read_config,
    write_lock,
)
from deploy.errors import ConfigError

IMAGE = {"uri": "repo@sha256:1", "tag": "v1"}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "chandra.toml"
    path.write_text("[model]\nbucket = 'weights'\n")
    return path


def read_lock_error(path):
    """Return the error about the lock file after its path; it names no other file."""
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    message = caught.value.message
    assert message.startswith(str(lock_path(path)))
    assert path.name not in message.replace(str(lock_path(path)), "")
    assert "init" not in (caught.value.hint or "")
    assert "delete it; chandra-sagemaker image push" in (caught.value.hint or "")
    return message.removeprefix(str(lock_path(path)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", " is not valid JSON"),
        (b"{", " is not valid JSON"),
        (b"\xff\xfe{}", " is not valid JSON"),
        (b"[" * 100_000, " is not valid JSON"),
        (b"[]", " must hold a JSON object"),
        (b'{"image": 3}', ": image must be a JSON object, not 3"),
        (b'{"image": {"uri": 3}}', ": image.uri must be text, not 3"),
        (b'{"image": {"uri": "repo:v1"}}', ": image.uri must name a digest"),
        (b'{"image": {"url": "x"}}', ": unknown setting image.url"),
        (b'{"modle": {}}', ": unknown setting modle"),
        (b'{"model": {"revision": []}}', ": model.revision must be text"),
        (b'{"model": {"source": "hub"}}', ": network.isolation = true keeps"),
    ],
    ids=[
        "empty",
        "truncated",
        "not-utf-8",
        "deeply-nested",
        "an-array",
        "a-number-for-a-table",
        "a-number-for-text",
        "a-tag-for-a-digest",
        "an-unknown-setting",
        "an-unknown-table",
        "an-array-for-text",
        "a-combination",
    ],
)
def test_fault_in_the_lock_file_names_the_lock_file(path, content, reason):
    lock_path(path).write_bytes(content)

    assert read_lock_error(path).startswith(reason)


def test_folder_in_place_of_the_lock_file_is_named(path):
    lock_path(path).mkdir()

    assert "cannot be read: Is a directory" in read_file_error(path)


def test_unreadable_lock_file_is_named(path):
    lock_path(path).symlink_to(lock_path(path))

    assert "cannot be read: Too many levels" in read_file_error(path)


def read_file_error(path):
    """Return the message of the error that the lock file cannot be read."""
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert caught.value.message.startswith(f"{lock_path(path)} cannot be read")
    assert "make it a file that you may read" in (caught.value.hint or "")
    return caught.value.message


def test_fault_in_chandra_toml_is_not_blamed_on_the_lock(path):
    path.write_text("[image]\ncuda = 12\n")
    write_lock(path, "image", IMAGE)

    with pytest.raises(ConfigError) as caught:
        read_config(path)

    assert caught.value.message.startswith(f"{path}: image.cuda must be text")


@pytest.mark.parametrize(
    "content", [b"\xff", b"a = " + b"[" * 100_000], ids=["not-utf-8", "deeply-nested"]
)
def test_invalid_chandra_toml_is_named(path, content):
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        read_config(path)

    assert caught.value.message.startswith(f"{path} cannot be read")


def path_in_error(path):
    """Return the path with which an error begins; None if the file is read."""
    try:
        read_config(path)
    except ConfigError as error:
        return error.message[: len(str(lock_path(path)))]
    return None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["image", "model", "uri", "revision", "tag", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=50,
)
@given(content=JSON)
def test_any_json_in_the_lock_is_read_or_named(path, content):
    lock_path(path).write_text(json.dumps(content))

    assert path_in_error(path) in (None, str(lock_path(path)))


def test_failed_write_names_the_lock_file(path):
    lock_path(path).symlink_to(path.parent / "gone" / "lock.json")

    with pytest.raises(ConfigError) as caught:
        write_lock(path, "model", {"revision": "abc"})

    assert caught.value.message.startswith(f"{lock_path(path)} cannot be written")
    assert '"revision": "abc"' in (caught.value.hint or "")


@pytest.fixture
def full_disk():
    """Return a context in which no file can grow beyond a few bytes."""

    @contextmanager
    def limited():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.mark.parametrize(
    "change",
    [
        lambda path: write_lock(path, "model", {"revision": "abc"}),
        lambda path: drop_from_lock(path, ["image"]),
    ],
    ids=["write", "drop"],
)
def test_lock_that_cannot_be_written_stays_as_it_was(path, full_disk, change):
    write_lock(path, "image", IMAGE)
    write_lock(path, "model", {"revision": "0"})
    before = lock_path(path).read_bytes()

    with full_disk(), pytest.raises(ConfigError, match="File too large"):
        change(path)

    assert lock_path(path).read_bytes() == before
    assert sorted(path.parent.iterdir()) == sorted([path, lock_path(path)])


def test_replaced_lock_keeps_its_link_and_permissions(path):
    real = path.parent / "shared" / "locked.json"
    real.parent.mkdir()
    real.write_text("{}")
    real.chmod(0o640)
    lock_path(path).symlink_to(real)
    earlier = real.parent / "earlier.json"
    earlier.hardlink_to(real)

    write_lock(path, "image", IMAGE)

    assert lock_path(path).is_symlink()
    assert json.loads(real.read_text()) == {"image": IMAGE}
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert earlier.read_text() == "{}"


def test_dropped_table_leaves_the_others(path):
    write_lock(path, "image", IMAGE)
    write_lock(path, "model", {"revision": "abc"})

    drop_from_lock(path, ["image"])

    assert json.loads(lock_path(path).read_text()) == {"model": {"revision": "abc"}}


def test_lock_file_without_tables_is_removed(path):
    write_lock(path, "image", IMAGE)

    drop_from_lock(path, ["image", "model"])

    assert not lock_path(path).exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_lock_that_cannot_be_dropped_says_to_delete_it(path):
    write_lock(path, "image", IMAGE)
    path.parent.chmod(0o500)

    try:
        with pytest.raises(ConfigError, match="cannot be changed") as caught:
            drop_from_lock(path, ["image"])
    finally:
        path.parent.chmod(0o700)

    assert f"delete {lock_path(path)}" in (caught.value.hint or "")
