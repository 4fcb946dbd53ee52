"""How staged weights get here: in parts, checked, and on from where a crash ended it.

S3 is moto's, with a door a test may stand in (tests/s3.py).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import signal
import threading
from collections import namedtuple
from collections.abc import Mapping
from pathlib import Path

import pytest

from handler.errors import ModelLoadError
from handler.processes.child import Child
from handler.settings import EngineSettings
from handler.storage.addresses import Address
from handler.storage.s3 import ObjectReader
from handler.weights.download import fetch_into
from handler.weights.manifest import MANIFEST, staged_at
from handler.weights.source import fetch, find_source
from tests.checkpoints import index_of, tensor_file
from tests.s3 import Answer, Asked, s3_on_loopback
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
    """What `chandra-sagemaker model stage` writes beside them, last."""
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
    """With the weights as they were staged."""
    _server.reset()
    for name, content in (CONTENTS | {MANIFEST: manifest_of(CONTENTS)}).items():
        _server.put(PREFIX.key + name, content, bucket=PREFIX.bucket)
    _server.asked.clear()
    yield _server
    _server.reset()


@pytest.fixture
def objects(s3):
    objects = ObjectReader(part_bytes=PART, window=1)
    yield objects
    objects.close()


@pytest.fixture
def fetched(objects, tmp_path):
    """What is in the folder after a fetch, hidden files apart."""

    def fetch_it(**options: float) -> dict[str, bytes]:
        folder = tmp_path / "weights"
        staged = staged_at(objects, PREFIX, lambda name: True)
        fetch_into(objects, staged, folder, **options)
        return {
            path.name: path.read_bytes()
            for path in folder.iterdir()
            if not path.name.startswith(".") and path.name != MANIFEST
        }

    return fetch_it


def ranges(s3) -> list[str]:
    """The parts of weights that were read, in order."""
    return [
        f"{Path(asked.path).stem} {asked.range.removeprefix('bytes=')}"
        for asked in s3.reads()
        if asked.range is not None
    ]


def put(s3, name: str, content: bytes) -> None:
    s3.put(PREFIX.key + name, content, bucket=PREFIX.bucket)


# What arrives


def test_staged_weights_arrive_as_they_were_staged(fetched):
    assert fetched() == CONTENTS


def test_nothing_is_left_of_the_parts(fetched, tmp_path):
    fetched()

    names = {path.name for path in (tmp_path / "weights").iterdir()}
    assert names == {*CONTENTS, MANIFEST}


def test_the_manifest_gives_model_and_revision_their_names(s3, tmp_path):
    settings = EngineSettings(model_s3_uri=URI)
    source = find_source(settings, sagemaker_model_dir=tmp_path / "nothing")

    weights = fetch(source, settings, tmp_path)

    assert (weights.model_id, weights.revision) == ("acme/ocr", "r1")


def test_settings_name_them_otherwise(s3, tmp_path):
    settings = EngineSettings(model_s3_uri=URI, model_id="mine", model_revision="x")
    source = find_source(settings, sagemaker_model_dir=tmp_path / "nothing")

    weights = fetch(source, settings, tmp_path)

    assert (weights.model_id, weights.revision) == ("mine", "x")


def test_weights_without_a_manifest_are_fetched_with_a_warning(
    s3, fetched, objects, caplog
):
    s3.client.delete_object(Bucket="weights", Key=PREFIX.key + MANIFEST)

    assert fetched() == CONTENTS
    assert "weights without a manifest" in caplog.text


def test_the_log_says_how_far_it_is_and_how_fast_it_was(s3, fetched, caplog):
    caplog.set_level(logging.INFO)

    fetched(progress_seconds=0.0)

    said = [vars(line) for line in caplog.records if line.getMessage() == "weights"]
    total = sum(map(len, CONTENTS.values()))
    assert {line["total_bytes"] for line in said} == {total}
    assert [line["stage"] for line in said[-2:]] == ["fetching", "fetched"]
    assert [line["bytes"] for line in said] == sorted(line["bytes"] for line in said)
    assert said[-1]["bytes"] == total
    assert said[-1]["bytes_per_second"] > 0


def test_a_file_is_hashed_while_its_last_part_is_on_its_way(s3, fetched, caplog):
    caplog.set_level(logging.INFO)
    before = CONTENTS["config.json"] + CONTENTS["model-1.safetensors"][:4000]
    hashed: list[bool] = []

    def num_hashed() -> int:
        return max(
            (vars(r).get("hashed_bytes", 0) for r in list(caplog.records)), default=0
        )

    def door(asked: Asked) -> None:
        if "model-1" in asked.path and asked.range == "bytes=4000-4499":
            hashed.append(until(lambda: num_hashed() == len(before)))

    s3.door = door

    assert fetched(progress_seconds=0.0) == CONTENTS
    assert hashed == [True]


def test_the_manifest_lies_beside_what_was_fetched(fetched, tmp_path):
    fetched()

    found = json.loads((tmp_path / "weights" / MANIFEST).read_text())
    assert found["files"] == json.loads(manifest_of(CONTENTS))["files"]
    assert (found["model"], found["revision"]) == ("acme/ocr", "r1")


# Later starts


def test_a_later_start_reads_headers_and_fetches_nothing(s3, fetched):
    fetched()
    s3.asked.clear()

    assert fetched() == CONTENTS
    assert ranges(s3) == []


def test_a_damaged_header_makes_a_later_start_fetch_the_file(
    s3, fetched, tmp_path, caplog
):
    fetched()
    s3.asked.clear()
    with (tmp_path / "weights" / "model-2.safetensors").open("r+b") as file:
        file.seek(8)
        file.write(b"?")

    assert fetched() == CONTENTS
    assert {line.split()[0] for line in ranges(s3)} == {"model-2"}
    assert "weights damaged" in caplog.text


def test_a_file_staged_with_a_bad_header_is_fetched_once(s3, fetched):
    contents = CONTENTS | {"model-2.safetensors": bytes(2500)}
    put(s3, "model-2.safetensors", contents["model-2.safetensors"])
    put(s3, MANIFEST, manifest_of(contents))
    fetched()
    s3.asked.clear()

    assert fetched() == contents
    assert ranges(s3) == []


# What is wrong


def test_a_file_that_is_not_what_was_staged_is_named(s3, fetched, tmp_path):
    put(s3, "model-2.safetensors", b"\x08" * 2500)

    with pytest.raises(
        ModelLoadError, match=r"model-2\.safetensors is not what .* its"
    ):
        fetched()

    assert not (tmp_path / "weights" / "model-2.safetensors").exists()


def test_a_file_of_another_size_is_refused_before_anything_is_fetched(s3, fetched):
    put(s3, "model-2.safetensors", b"\x07" * 2499)

    with pytest.raises(ModelLoadError, match=r"model-2.* 2,499 bytes, but .* 2,500"):
        fetched()

    assert ranges(s3) == []


def test_a_file_that_is_missing_is_refused_before_anything_is_fetched(s3, fetched):
    s3.client.delete_object(Bucket="weights", Key=PREFIX.key + "model-1.safetensors")

    with pytest.raises(ModelLoadError, match=r"model-1\.safetensors is missing"):
        fetched()

    assert ranges(s3) == []


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
def test_a_manifest_that_makes_no_sense_is_refused(s3, fetched, content):
    put(s3, MANIFEST, content)

    with pytest.raises(ModelLoadError, match="is no list of weights"):
        fetched()


@pytest.mark.parametrize("name", ["../evil.json", "/etc/evil.json", "a/evil.json"])
def test_a_name_that_leads_elsewhere_is_left_there(s3, fetched, name):
    """Files below the prefix are another model's; above it they are nobody's."""
    put(s3, MANIFEST, manifest_of(CONTENTS | {name: b"evil"}))

    assert fetched() == CONTENTS


def test_a_disk_that_is_too_small_is_known_before_anything_is_fetched(
    s3, fetched, monkeypatch
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 1000))

    with pytest.raises(
        ModelLoadError, match=r"needs 7,\d{3} bytes in .* 1,000 are free"
    ):
        fetched()

    assert ranges(s3) == []


def test_weights_that_are_replaced_while_they_are_read_are_refused(s3, tmp_path):
    def door(asked: Asked) -> None:
        if asked.range is not None:
            s3.door = lambda asked: None
            put(s3, "config.json", b"{}" * 13)

    s3.door = door
    settings = EngineSettings(model_s3_uri=URI)
    source = find_source(settings, sagemaker_model_dir=tmp_path / "nothing")

    with pytest.raises(ModelLoadError, match=r"config\.json was changed while it"):
        fetch(source, settings, tmp_path)


# When S3 is away


def busy(asked: Asked) -> Answer:
    return "503 Slow Down", [], b"<Error><Code>SlowDown</Code></Error>"


def test_an_engine_starts_again_with_what_is_here_while_s3_is_away(
    s3, tmp_path, caplog
):
    settings = EngineSettings(model_s3_uri=URI)
    source = find_source(settings, sagemaker_model_dir=tmp_path / "nothing")
    first = fetch(source, settings, tmp_path)
    s3.door = busy

    again = fetch(source, settings, tmp_path)

    assert again == first
    assert "weights of the last time" in caplog.text


def test_local_weights_are_checked_without_s3(s3, tmp_path):
    settings = EngineSettings(model_s3_uri=URI)
    source = find_source(settings, sagemaker_model_dir=tmp_path / "nothing")
    first = fetch(source, settings, tmp_path)
    (first.path / "config.json").write_bytes(b'{"model_type": "qwen3_vl" }')
    s3.door = busy

    with pytest.raises(ModelLoadError, match=r"config\.json has 27 bytes, but .* 26"):
        fetch(source, settings, tmp_path)


def test_what_was_never_fetched_cannot_be_had_while_s3_is_away(s3, tmp_path):
    settings = EngineSettings(model_s3_uri=URI)
    source = find_source(settings, sagemaker_model_dir=tmp_path / "nothing")
    s3.door = busy

    with pytest.raises(
        ModelLoadError, match=r"could not be fetched: S3 cannot be read"
    ):
        fetch(source, settings, tmp_path)


# Crashes


def break_off_at(s3, part: str) -> None:
    """From this part of model-1 on, S3 refuses."""

    def door(asked: Asked) -> Answer | None:
        if asked.range == f"bytes={part}" and "model-1" in asked.path:
            return "403 Forbidden", [], b"<Error><Code>AccessDenied</Code></Error>"
        return None

    s3.door = door


def test_what_broke_off_goes_on_with_the_parts_that_are_missing(s3, fetched):
    break_off_at(s3, "3000-3999")
    with pytest.raises(Exception, match="does not let us read"):
        fetched()
    s3.reset()

    assert fetched() == CONTENTS
    assert ranges(s3)[:2] == ["model-1 3000-3999", "model-1 4000-4499"]
    assert not any(line.startswith("config") for line in ranges(s3))


def fetch_alone(connection, folder: str) -> None:
    """In a process of its own, which says when it has begun and is killed then."""
    objects = ObjectReader(part_bytes=PART, window=1)
    connection.send("begun")
    fetch_into(objects, staged_at(objects, PREFIX, lambda name: True), Path(folder))


@pytest.mark.parametrize("part", ["0-999", "1000-1999", "4000-4499"])
def test_what_a_killed_process_left_is_gone_on_with(s3, fetched, tmp_path, part):
    is_there, gate = threading.Event(), threading.Event()

    def door(asked: Asked) -> None:
        if asked.range == f"bytes={part}" and "model-1" in asked.path:
            is_there.set()
            gate.wait(30)

    s3.door = door
    child = Child(fetch_alone, str(tmp_path / "weights"))
    assert is_there.wait(60)
    os.kill(child.pid, signal.SIGKILL)
    child.close()
    gate.set()
    s3.reset()

    assert fetched() == CONTENTS
    assert ranges(s3)[0] == f"model-1 {part}"


def test_parts_that_the_disk_has_lost_are_fetched_again(s3, fetched, tmp_path, caplog):
    """After a crash of the machine, what was noted may not be what was kept."""
    break_off_at(s3, "3000-3999")
    with pytest.raises(Exception, match="does not let us read"):
        fetched()
    s3.reset()
    partial = tmp_path / "weights" / ".model-1.safetensors.partial"
    with partial.open("r+b") as file:
        file.write(bytes(PART))

    assert fetched() == CONTENTS
    assert "weights wrong, fetched again" in caplog.text


def test_two_that_fetch_the_same_do_not_write_into_each_others_files(
    s3, fetched, tmp_path
):
    """A worker that TorchServe has given up may still be at it."""
    is_there, gate = threading.Event(), threading.Event()

    def door(asked: Asked) -> None:
        if asked.range is not None and not is_there.is_set():
            is_there.set()
            gate.wait(30)

    s3.door = door
    child = Child(fetch_alone, str(tmp_path / "weights"))
    assert is_there.wait(60)
    got: list[dict[str, bytes]] = []
    second = threading.Thread(target=lambda: got.append(fetched()))
    second.start()
    # The kernel lists who waits for a lock, with an arrow.
    waiting = re.compile(rf"-> FLOCK +ADVISORY +WRITE {os.getpid()} ")
    until(lambda: waiting.search(Path("/proc/locks").read_text()) or ranges(s3)[1:])
    assert len(ranges(s3)) == 1

    gate.set()
    second.join(60)
    child.close()

    assert got == [CONTENTS]
    assert len(ranges(s3)) == len(set(ranges(s3)))
