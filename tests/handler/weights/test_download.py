"""Downloads of staged weights: in parts, checked, and resumed after a crash.

S3 is moto's. The `intercept` function of tests/s3.py sees each request first.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from handler.errors import ModelLoadError
from handler.processes.child import Child
from handler.settings import EngineSettings
from handler.storage.addresses import Address
from handler.storage.s3 import ObjectReader
from handler.weights.download import download_weights
from handler.weights.manifest import MANIFEST, find_staged_weights
from handler.weights.source import fetch, find_source
from tests.checkpoints import index_of, tensor_file
from tests.s3 import Answer, S3Request, s3_on_loopback
from tests.waiting import until

PART = 1000
M1 = "model-1.safetensors"
CONTENTS = {
    "config.json": b'{"model_type": "qwen3_vl"}',
    "model-1.safetensors": tensor_file("a", "b", size=4500, fill=1),
    "model-2.safetensors": tensor_file("c", size=2500, fill=7),
    "model.safetensors.index.json": index_of(
        {"a": M1, "b": M1, "c": "model-2.safetensors"}
    ),
}
PREFIX = Address("weights", "chandra/r1/")
URI = "s3://weights/chandra/r1"


def manifest_of(contents: Mapping[str, bytes]) -> bytes:
    """Return the manifest that `chandra-sagemaker model stage` uploads."""
    files = [
        {"name": n, "size": len(c), "sha256": hashlib.sha256(c).hexdigest()}
        for n, c in contents.items()
    ]
    manifest = {"model": "acme/ocr", "revision": "r1", "deployment": "ocr"}
    return json.dumps(manifest | {"files": files}, indent=2).encode()


@pytest.fixture(scope="module")
def _server():
    with s3_on_loopback("weights") as server:
        yield server


@pytest.fixture
def s3(_server):
    """S3 server with the staged weights and their manifest."""
    _server.reset()
    for name, content in (CONTENTS | {MANIFEST: manifest_of(CONTENTS)}).items():
        _server.put(PREFIX.key + name, content, bucket=PREFIX.bucket)
    _server.requests.clear()
    yield _server
    _server.reset()


@pytest.fixture
def objects(s3):
    objects = ObjectReader(part_bytes=PART, window=1)
    yield objects
    objects.close()


@pytest.fixture
def download(objects, tmp_path):
    """Return a function that downloads the weights and returns their contents.

    Hidden files and the manifest are left out.
    """

    def run(**options: Any) -> dict[str, bytes]:
        folder = tmp_path / "weights"
        staged = find_staged_weights(objects, PREFIX, lambda name: True)
        download_weights(objects, staged, folder, **options)
        return {
            path.name: path.read_bytes()
            for path in folder.iterdir()
            if not path.name.startswith(".") and path.name != MANIFEST
        }

    return run


def requested_parts(s3) -> list[str]:
    """Return the parts of weights that were requested, in order."""
    return [
        f"{Path(request.path).stem} {request.range.removeprefix('bytes=')}"
        for request in s3.read_requests()
        if request.range is not None
    ]


def put(s3, name: str, content: bytes) -> None:
    s3.put(PREFIX.key + name, content, bucket=PREFIX.bucket)


# Complete downloads


def test_downloaded_files_equal_the_staged_ones(download):
    assert download() == CONTENTS


def test_partial_files_are_removed(download, tmp_path):
    download()

    names = {path.name for path in (tmp_path / "weights").iterdir()}
    assert names == {*CONTENTS, MANIFEST}


def test_model_and_revision_come_from_the_manifest(s3, tmp_path):
    settings = EngineSettings(model_s3_uri=URI)
    source = find_source(settings, sagemaker_model_dir=tmp_path / "nothing")

    weights = fetch(source, settings, tmp_path)

    assert (weights.model_id, weights.revision) == ("acme/ocr", "r1")


def test_settings_override_model_and_revision(s3, tmp_path):
    settings = EngineSettings(model_s3_uri=URI, model_id="mine", model_revision="x")
    source = find_source(settings, sagemaker_model_dir=tmp_path / "nothing")

    weights = fetch(source, settings, tmp_path)

    assert (weights.model_id, weights.revision) == ("mine", "x")


def test_weights_without_manifest_cause_a_warning(s3, download, objects, caplog):
    s3.client.delete_object(Bucket="weights", Key=PREFIX.key + MANIFEST)

    assert download() == CONTENTS
    assert "weights without a manifest" in caplog.text


def test_progress_and_speed_are_logged(s3, download, caplog):
    caplog.set_level(logging.INFO)

    download(progress_seconds=0.0)

    lines = [vars(line) for line in caplog.records if line.getMessage() == "weights"]
    total = sum(map(len, CONTENTS.values()))
    assert {line["total_bytes"] for line in lines} == {total}
    assert [line["stage"] for line in lines[-2:]] == ["fetching", "fetched"]
    assert [line["bytes"] for line in lines] == sorted(line["bytes"] for line in lines)
    assert lines[-1]["bytes"] == total
    assert lines[-1]["bytes_per_second"] > 0


def test_file_is_hashed_before_its_last_part_arrives(s3, download, caplog):
    caplog.set_level(logging.INFO)
    before = CONTENTS["config.json"] + CONTENTS["model-1.safetensors"][:4000]
    hashed: list[bool] = []

    def num_hashed() -> int:
        return max(
            (vars(r).get("hashed_bytes", 0) for r in list(caplog.records)), default=0
        )

    def intercept(request: S3Request) -> None:
        if "model-1" in request.path and request.range == "bytes=4000-4499":
            hashed.append(until(lambda: num_hashed() == len(before)))

    s3.intercept = intercept

    assert download(progress_seconds=0.0) == CONTENTS
    assert hashed == [True]


def test_manifest_is_stored_beside_the_files(download, tmp_path):
    download()

    manifest = json.loads((tmp_path / "weights" / MANIFEST).read_text())
    assert manifest["files"] == json.loads(manifest_of(CONTENTS))["files"]
    assert (manifest["model"], manifest["revision"]) == ("acme/ocr", "r1")


# Later starts


def test_complete_files_are_not_downloaded_again(s3, download):
    download()
    s3.requests.clear()

    assert download() == CONTENTS
    assert requested_parts(s3) == []


def test_file_with_damaged_header_is_downloaded_again(s3, download, tmp_path, caplog):
    download()
    s3.requests.clear()
    with (tmp_path / "weights" / "model-2.safetensors").open("r+b") as file:
        file.seek(8)
        file.write(b"?")

    assert download() == CONTENTS
    assert {line.split()[0] for line in requested_parts(s3)} == {"model-2"}
    assert "weights damaged" in caplog.text


def test_file_staged_with_bad_header_is_downloaded_once(s3, download):
    contents = CONTENTS | {"model-2.safetensors": bytes(2500)}
    put(s3, "model-2.safetensors", contents["model-2.safetensors"])
    put(s3, MANIFEST, manifest_of(contents))
    download()
    s3.requests.clear()

    assert download() == contents
    assert requested_parts(s3) == []


# Faults


def test_file_with_wrong_hash_is_rejected(s3, download, tmp_path):
    put(s3, "model-2.safetensors", b"\x08" * 2500)

    with pytest.raises(
        ModelLoadError, match=r"model-2\.safetensors does not match .* its"
    ):
        download()

    assert not (tmp_path / "weights" / "model-2.safetensors").exists()


def test_wrong_size_is_rejected_before_the_download(s3, download):
    put(s3, "model-2.safetensors", b"\x07" * 2499)

    with pytest.raises(ModelLoadError, match=r"model-2.* 2,499 bytes, but .* 2,500"):
        download()

    assert requested_parts(s3) == []


def test_missing_file_is_rejected_before_the_download(s3, download):
    s3.client.delete_object(Bucket="weights", Key=PREFIX.key + "model-1.safetensors")

    with pytest.raises(ModelLoadError, match=r"model-1\.safetensors is missing"):
        download()

    assert requested_parts(s3) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"files": [1]}',
        b'{"files": [{"name": "a"}]}',
        b'{"model": 7, "files": []}',
    ],
)
def test_invalid_manifest_is_rejected(s3, download, content):
    put(s3, MANIFEST, content)

    with pytest.raises(ModelLoadError, match="is not a valid weights manifest"):
        download()


@pytest.mark.parametrize("name", ["../evil.json", "/etc/evil.json", "a/evil.json"])
def test_names_outside_the_prefix_are_ignored(s3, download, name):
    """Files in folders below the prefix belong to another model."""
    put(s3, MANIFEST, manifest_of(CONTENTS | {name: b"evil"}))

    assert download() == CONTENTS


def test_full_disk_is_detected_before_the_download(s3, download):
    with pytest.raises(
        ModelLoadError, match=r"needs 7,\d{3} bytes in .* 1,000 are free"
    ):
        download(read_free_bytes=lambda folder: 1000)

    assert requested_parts(s3) == []


def test_weights_replaced_during_download_are_rejected(s3, tmp_path):
    def intercept(request: S3Request) -> None:
        if request.range is not None:
            s3.intercept = lambda request: None
            put(s3, "config.json", b"{}" * 13)

    s3.intercept = intercept
    settings = EngineSettings(model_s3_uri=URI)
    source = find_source(settings, sagemaker_model_dir=tmp_path / "nothing")

    with pytest.raises(ModelLoadError, match=r"config\.json was changed while it"):
        fetch(source, settings, tmp_path)


# S3 unavailable


def answer_busy(request: S3Request) -> Answer:
    return "503 Slow Down", [], b"<Error><Code>SlowDown</Code></Error>"


def test_local_weights_are_used_if_s3_is_unavailable(s3, tmp_path, caplog):
    settings = EngineSettings(model_s3_uri=URI)
    source = find_source(settings, sagemaker_model_dir=tmp_path / "nothing")
    first = fetch(source, settings, tmp_path)
    s3.intercept = answer_busy

    again = fetch(source, settings, tmp_path)

    assert again == first
    assert "cached weights used" in caplog.text


def test_local_weights_are_checked_without_s3(s3, tmp_path):
    settings = EngineSettings(model_s3_uri=URI)
    source = find_source(settings, sagemaker_model_dir=tmp_path / "nothing")
    first = fetch(source, settings, tmp_path)
    (first.path / "config.json").write_bytes(b'{"model_type": "qwen3_vl" }')
    s3.intercept = answer_busy

    with pytest.raises(ModelLoadError, match=r"config\.json has 27 bytes, but .* 26"):
        fetch(source, settings, tmp_path)


def test_first_download_fails_if_s3_is_unavailable(s3, tmp_path):
    settings = EngineSettings(model_s3_uri=URI)
    source = find_source(settings, sagemaker_model_dir=tmp_path / "nothing")
    s3.intercept = answer_busy

    with pytest.raises(
        ModelLoadError, match=r"could not be fetched: S3 cannot be read"
    ):
        fetch(source, settings, tmp_path)


# Crashes


def reject_part(s3, part: str) -> None:
    """Let S3 answer 403 to requests for this part of model-1."""

    def intercept(request: S3Request) -> Answer | None:
        if request.range == f"bytes={part}" and "model-1" in request.path:
            return "403 Forbidden", [], b"<Error><Code>AccessDenied</Code></Error>"
        return None

    s3.intercept = intercept


def test_failed_download_resumes_with_missing_parts(s3, download):
    reject_part(s3, "3000-3999")
    with pytest.raises(Exception, match="does not let us read"):
        download()
    s3.reset()

    assert download() == CONTENTS
    assert requested_parts(s3)[:2] == ["model-1 3000-3999", "model-1 4000-4499"]
    assert not any(line.startswith("config") for line in requested_parts(s3))


def download_in_process(connection, folder: str) -> None:
    """Download in a process of its own; send a message when it begins."""
    objects = ObjectReader(part_bytes=PART, window=1)
    connection.send("begun")
    download_weights(
        objects, find_staged_weights(objects, PREFIX, lambda name: True), Path(folder)
    )


@pytest.mark.parametrize("part", ["0-999", "1000-1999", "4000-4499"])
def test_download_resumes_after_its_process_was_killed(s3, download, tmp_path, part):
    is_requested, gate = threading.Event(), threading.Event()

    def intercept(request: S3Request) -> None:
        if request.range == f"bytes={part}" and "model-1" in request.path:
            is_requested.set()
            gate.wait(30)

    s3.intercept = intercept
    child = Child(download_in_process, str(tmp_path / "weights"))
    assert is_requested.wait(60)
    os.kill(child.pid, signal.SIGKILL)
    child.close()
    gate.set()
    s3.reset()

    assert download() == CONTENTS
    assert requested_parts(s3)[0] == f"model-1 {part}"


def test_parts_lost_by_the_disk_are_downloaded_again(s3, download, tmp_path, caplog):
    """Recorded parts may be missing on disk after a crash of the machine."""
    reject_part(s3, "3000-3999")
    with pytest.raises(Exception, match="does not let us read"):
        download()
    s3.reset()
    partial = tmp_path / "weights" / ".model-1.safetensors.partial"
    with partial.open("r+b") as file:
        file.write(bytes(PART))

    assert download() == CONTENTS
    assert "weights wrong, fetched again" in caplog.text


def test_concurrent_downloads_wait_for_each_other(s3, download, tmp_path):
    """A worker that TorchServe has replaced may still be downloading."""
    is_requested, gate = threading.Event(), threading.Event()

    def intercept(request: S3Request) -> None:
        if request.range is not None and not is_requested.is_set():
            is_requested.set()
            gate.wait(30)

    s3.intercept = intercept
    child = Child(download_in_process, str(tmp_path / "weights"))
    assert is_requested.wait(60)
    contents: list[dict[str, bytes]] = []
    second = threading.Thread(target=lambda: contents.append(download()))
    second.start()
    # The kernel marks a process that waits for a lock with an arrow.
    waiting = re.compile(rf"-> FLOCK +ADVISORY +WRITE {os.getpid()} ")
    until(
        lambda: (
            waiting.search(Path("/proc/locks").read_text()) or requested_parts(s3)[1:]
        )
    )
    assert len(requested_parts(s3)) == 1

    gate.set()
    second.join(60)
    child.close()

    assert contents == [CONTENTS]
    assert len(requested_parts(s3)) == len(set(requested_parts(s3)))
