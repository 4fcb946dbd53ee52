"""Incomplete checkpoints are detected by the sizes and headers of their files."""

from __future__ import annotations

import json
import struct

import pytest

from handler.errors import ModelLoadError
from handler.settings import EngineSettings
from handler.weights.checkpoint import check_checkpoint, read_tensor_names
from handler.weights.manifest import MANIFEST
from handler.weights.source import MINI, Source, fetch
from tests.checkpoints import index_of, tensor_file

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
FILES = {
    "one.safetensors": tensor_file("a", "b", size=900),
    "two.safetensors": tensor_file("c", size=700),
    INDEX: index_of(
        {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}
    ),
}


@pytest.fixture
def folder(tmp_path):
    """Folder with a checkpoint in two files."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def with_header(header: object, num_bytes: int = 8) -> bytes:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + bytes(num_bytes)


def place(start: int, end: int, dtype: str = "U8", **more: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": [end - start], "data_offsets": [start, end]} | more


def test_embedded_model_is_complete():
    check_checkpoint(MINI)

    assert "model.language_model.norm.weight" in read_tensor_names(MINI)


def test_tensors_of_all_files_are_listed(folder):
    check_checkpoint(folder)

    assert read_tensor_names(folder) == ["a", "b", "c"]


# One file


def test_empty_file_is_rejected(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_vl"}')
    (tmp_path / WEIGHTS).write_bytes(b"")

    with pytest.raises(ModelLoadError, match=r"model\.safetensors is empty \(0 bytes"):
        fetch(Source("folder", str(tmp_path)), EngineSettings(), tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x01", "ends inside its header, after 1 of 9 bytes"),
        (b"not tensors at all", "is not a safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS .* git lfs pull"),
        (tensor_file("a", size=900)[:50], "ends inside its header, after 50 of 188"),
        (tensor_file("a", size=900)[:-1], "is truncated: it has 899 of 900 bytes"),
        (tensor_file("a", size=900) + b"\0", "has 901 bytes, but its header .* 900"),
        (bytes(1000), "has a corrupt header"),
        (with_header(b"{"), "has a corrupt header"),
        (with_header(b"\xff\xfe"), "has a corrupt header"),
        (with_header([1]), "has a corrupt header"),
        (with_header({"a": 1}), "has a corrupt header"),
        (with_header({"a": {}}), "has a corrupt header"),
        (with_header({"a": place(0, 8, shape=None)}), "has a corrupt header"),
        (with_header({"a": place(0, 8, data_offsets=[0])}), "has a corrupt header"),
        (
            with_header({"a": place(0, 8, "F32")}),
            r"size of a does not match its shape \[8\]",
        ),
        (
            with_header({"a": place(1, 8)}),
            "a does not begin where the tensor before it ends",
        ),
        (
            with_header({"a": place(0, 4), "b": place(2, 8)}),
            "b does not begin where the tensor before it ends",
        ),
        (with_header({"a": place(0, 9)}), "is truncated"),
    ],
)
def test_damaged_file_is_named_with_its_fault(tmp_path, content, words):
    (tmp_path / WEIGHTS).write_bytes(content)

    with pytest.raises(ModelLoadError, match=rf"model\.safetensors .*{words}"):
        check_checkpoint(tmp_path)


def test_unknown_types_are_not_checked_for_size(tmp_path):
    (tmp_path / WEIGHTS).write_bytes(with_header({"a": place(0, 8, "F4")}))

    check_checkpoint(tmp_path)


def test_metadata_of_a_header_is_not_a_tensor(tmp_path):
    header = {"__metadata__": {"format": "pt"}, "a": place(0, 8)}
    (tmp_path / WEIGHTS).write_bytes(with_header(header))

    assert read_tensor_names(tmp_path) == ["a"]


# Several files


def test_every_file_in_the_index_is_checked(folder):
    (folder / "two.safetensors").write_bytes(b"")

    with pytest.raises(ModelLoadError, match=r"two\.safetensors is empty"):
        check_checkpoint(folder)


def test_missing_file_of_the_index_is_named(folder):
    (folder / "two.safetensors").unlink()

    with pytest.raises(
        ModelLoadError, match=r"names two\.safetensors, which does not exist \(1 of 2"
    ):
        check_checkpoint(folder)


def test_missing_tensor_of_the_index_is_named(folder):
    (folder / "two.safetensors").write_bytes(tensor_file("d", size=700))

    with pytest.raises(ModelLoadError, match=r"two\.safetensors does not hold c"):
        check_checkpoint(folder)


def test_tensor_in_two_files_is_rejected(folder):
    (folder / "two.safetensors").write_bytes(tensor_file("b", "c", size=700))

    with pytest.raises(
        ModelLoadError, match=r"tensor b in one\.safetensors and in two\.safetensors"
    ):
        check_checkpoint(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"weight_map": {}}',
        b'{"weight_map": {"a": 1}}',
        b'{"weight_map": [1]}',
    ],
)
def test_invalid_index_is_rejected(folder, content):
    (folder / INDEX).write_bytes(content)

    with pytest.raises(ModelLoadError, match=r"index\.json (has no|names no)"):
        check_checkpoint(folder)


def test_several_files_without_an_index_are_rejected(folder):
    (folder / INDEX).unlink()

    with pytest.raises(ModelLoadError, match=r"holds neither model\.safetensors nor"):
        check_checkpoint(folder)


# The manifest


def write_manifest(folder, **sizes):
    files = [{"name": n, "size": s, "sha256": "0" * 64} for n, s in sizes.items()]
    (folder / MANIFEST).write_text(json.dumps({"files": files}))


def test_files_with_the_sizes_of_the_manifest_pass(folder):
    write_manifest(folder, **{"one.safetensors": 900, "README.md": 5, "a/b.json": 5})

    check_checkpoint(folder)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"two.safetensors": 701}, r"two\.safetensors has 700 bytes, but .* lists 701"),
        ({"tokenizer.json": 5}, r"tokenizer\.json is missing, but .* names it"),
    ],
)
def test_file_that_differs_from_the_manifest_is_named(folder, sizes, words):
    write_manifest(folder, **sizes)

    with pytest.raises(ModelLoadError, match=words):
        check_checkpoint(folder)


def test_invalid_manifest_is_rejected(folder):
    (folder / MANIFEST).write_text("{}")

    with pytest.raises(ModelLoadError, match="is not a valid weights manifest"):
        check_checkpoint(folder)
