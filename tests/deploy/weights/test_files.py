"""Files of a model, their digests and their tar."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from deploy.errors import NotFoundError
from deploy.weights.files import read_weights, write_tar
from tests.deploy.weights.fake_s3 import (
    CONFIG,
    OTHER_CONFIG,
)


def get_names(weights):
    return [file.name for file in weights.files]


def test_hidden_files_are_left_out(folder):
    weights = read_weights(folder, "m", "r")

    assert get_names(weights) == [
        "config.json",
        "model.safetensors",
        "sub/tokenizer.json",
    ]
    assert weights.files[0].sha256 == hashlib.sha256(CONFIG.encode()).hexdigest()


def test_default_revision_is_digest_of_files(folder):
    first = read_weights(folder, "m", None).revision
    second = read_weights(folder, "m", None).revision
    (folder / "config.json").write_text(OTHER_CONFIG)

    assert first == second
    assert first.startswith("sha256-")
    assert read_weights(folder, "m", None).revision != first


def test_folder_without_config_is_refused(tmp_path):
    with pytest.raises(NotFoundError, match=r"no config\.json"):
        read_weights(tmp_path, "m", None)


def test_links_are_staged_as_files(folder):
    (folder / "link.json").symlink_to(folder / "config.json")
    target = io.BytesIO()

    weights = read_weights(folder, "m", "r")
    write_tar(weights, target)

    with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as tar:
        assert all(member.isfile() for member in tar)
        assert sorted(tar.getnames()) == sorted(get_names(weights))


def test_tar_is_reproducible(folder):
    weights = read_weights(folder, "m", "r")
    first, second = io.BytesIO(), io.BytesIO()
    write_tar(weights, first)
    write_tar(weights, second)

    assert first.getvalue() == second.getvalue()
