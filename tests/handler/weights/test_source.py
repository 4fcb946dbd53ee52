"""Sources, profiles and errors of weights.

The hub is a small server of our own, called by the real client. S3 is moto's.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from handler.errors import ModelLoadError
from handler.settings import EngineSettings
from handler.weights.source import MINI, LocalWeights, Source, fetch, find_source
from tests.checkpoints import tensor_file
from tests.handler.weights.hub_process import HubProcess
from tests.hub import CHECKPOINT, COMMIT, FILES, OLDER_COMMIT, HubHandler, run_hub


def make_checkpoint(folder: Path, **config: Any) -> Path:
    """Make a folder that looks like a checkpoint with `config`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(tensor_file("weight", size=1000))
    return folder


# Order of the sources


@pytest.fixture
def places(tmp_path):
    """Arguments of `find_source`: folders in place of /opt/ml/model and of `mini`."""
    return {
        "sagemaker_model_dir": make_checkpoint(tmp_path / "opt", model_type="qwen3_vl"),
        "mini": make_checkpoint(tmp_path / "mini", model_type="qwen3_vl"),
    }


@pytest.fixture
def only_mini(places, tmp_path):
    return places | {"sagemaker_model_dir": tmp_path / "nothing"}


def test_model_dir_has_highest_precedence(places, tmp_path):
    folder = make_checkpoint(tmp_path / "mine", model_type="qwen3_vl")
    settings = EngineSettings(
        model_dir=str(folder), model_s3_uri="s3://b/p", model_id="acme/ocr"
    )

    assert find_source(settings, **places) == Source("folder", str(folder))


def test_sagemaker_folder_precedes_s3_and_hub(places):
    settings = EngineSettings(model_s3_uri="s3://b/p", model_id="acme/ocr")

    assert find_source(settings, **places) == Source(
        "folder", str(places["sagemaker_model_dir"])
    )


def test_s3_precedes_the_hub(only_mini):
    settings = EngineSettings(
        model_s3_uri="s3://b/p", model_id="acme/ocr", model_revision="v1"
    )

    assert find_source(settings, **only_mini) == Source("s3", "s3://b/p", "v1")


def test_hub_precedes_the_embedded_model(only_mini):
    settings = EngineSettings(model_id="acme/ocr", model_revision=COMMIT)

    assert find_source(settings, **only_mini) == Source("hub", "acme/ocr", COMMIT)


@pytest.mark.parametrize("model_id", [None, "mini"])
def test_embedded_model_is_the_default(only_mini, model_id):
    source = find_source(EngineSettings(model_id=model_id), **only_mini)

    assert source == Source("mini", str(only_mini["mini"]))


def test_only_local_weights_may_be_mini():
    kinds = ("folder", "s3", "hub", "mini")

    assert [k for k in kinds if Source(k, "x").may_be_mini] == ["folder", "mini"]


def test_model_dir_without_a_model_is_an_error(places, tmp_path):
    settings = EngineSettings(model_dir=str(tmp_path / "empty"))

    with pytest.raises(ModelLoadError, match=r"MODEL_DIR is .*empty, which has no"):
        find_source(settings, **places)


@pytest.mark.parametrize("uri", ["https://b/p", "s3:///p", "b/p", "s3:b", ""])
def test_invalid_s3_uri_is_rejected_with_an_example(only_mini, uri):
    with pytest.raises(ModelLoadError, match="must be s3://bucket/prefix, not"):
        find_source(EngineSettings(model_s3_uri=uri), **only_mini)


def test_error_without_any_weights_lists_the_settings(tmp_path):
    with pytest.raises(ModelLoadError, match="set MODEL_DIR, MODEL_S3_URI or MODEL_ID"):
        find_source(
            EngineSettings(), sagemaker_model_dir=tmp_path, mini=tmp_path / "nothing"
        )


# Checkpoints in folders


def fetch_folder(folder: Path, **settings: Any) -> LocalWeights:
    return fetch(
        Source("folder", str(folder)), EngineSettings(**settings), folder / "cache"
    )


def test_embedded_model_is_mini(tmp_path):
    weights = fetch(Source("mini", str(MINI)), EngineSettings(), tmp_path)

    assert weights.profile.name == weights.model_id == "mini"
    assert weights.revision is None
    assert weights.num_bytes == (MINI / "model.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"model_type": "qwen3_vl"}, "chandra"),
        ({"model_type": "qwen3_5"}, "chandra-2"),
        ({"model_type": "qwen3_vl", "chandra_profile": "mini"}, "mini"),
    ],
)
def test_profile_is_detected_from_the_config(tmp_path, config, name):
    assert fetch_folder(make_checkpoint(tmp_path, **config)).profile.name == name


def test_configured_profile_takes_precedence(tmp_path):
    folder = make_checkpoint(tmp_path, model_type="qwen3_vl", chandra_profile="mini")

    assert fetch_folder(folder, model_profile="chandra").profile.name == "chandra"


@pytest.mark.parametrize("config", [{"model_type": "llama"}, {}])
def test_unknown_model_type_is_rejected(tmp_path, config):
    folder = make_checkpoint(tmp_path / "other", **config)

    with pytest.raises(ModelLoadError, match=r"other has the model type (llama|None),"):
        fetch_folder(folder)


@pytest.mark.parametrize("profile", [["mini"], 2, {}])
def test_profile_of_another_type_than_str_is_rejected(tmp_path, profile):
    folder = make_checkpoint(tmp_path, model_type="qwen3_vl", chandra_profile=profile)

    with pytest.raises(ModelLoadError, match=r"chandra_profile in .* must be a name"):
        fetch_folder(folder)


def test_error_of_unknown_profile_lists_the_profiles(tmp_path):
    folder = make_checkpoint(tmp_path, model_type="qwen3_vl")

    with pytest.raises(
        ModelLoadError, match=r"profile maxi; .* chandra, chandra-2, mini"
    ):
        fetch_folder(folder, model_profile="maxi")


def test_profile_for_another_model_type_is_rejected(tmp_path):
    folder = make_checkpoint(tmp_path, model_type="qwen3_5")

    with pytest.raises(ModelLoadError, match=r"type qwen3_5, but .* is for qwen3_vl"):
        fetch_folder(folder, model_profile="chandra")


def test_model_id_defaults_to_the_name_of_the_folder(tmp_path):
    folder = make_checkpoint(tmp_path / "v7", model_type="qwen3_vl")

    assert fetch_folder(folder).model_id == "v7"
    named = fetch_folder(folder, model_id="acme/ocr", model_revision="r1")
    assert (named.model_id, named.revision) == ("acme/ocr", "r1")


def test_size_is_the_sum_of_all_weight_files(tmp_path):
    folder = make_checkpoint(tmp_path, model_type="qwen3_vl")
    (folder / "model-2.safetensors").write_bytes(b"\x00" * 500)

    assert fetch_folder(folder).num_bytes == 1500


@pytest.mark.parametrize(
    ("config", "is_trained"),
    [({}, True), ({"chandra_weights": "random"}, False)],
)
def test_random_weights_are_marked_as_untrained(tmp_path, config, is_trained):
    folder = make_checkpoint(tmp_path, model_type="qwen3_vl", **config)

    assert fetch_folder(folder).is_trained is is_trained


def test_folder_without_weights_is_rejected(tmp_path):
    folder = make_checkpoint(tmp_path, model_type="qwen3_vl")
    (folder / "model.safetensors").unlink()

    with pytest.raises(ModelLoadError, match=r"has no \*.safetensors"):
        fetch_folder(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"[]", "is not a JSON object"),
    ],
)
def test_invalid_config_is_rejected(tmp_path, content, words):
    folder = make_checkpoint(tmp_path)
    (folder / "config.json").write_bytes(content)

    with pytest.raises(ModelLoadError, match=f"config.json {words}"):
        fetch_folder(folder)


def test_folder_without_a_config_is_rejected(tmp_path):
    with pytest.raises(ModelLoadError, match=r"config.json cannot be read"):
        fetch_folder(tmp_path)


# The Hugging Face hub


@pytest.fixture(scope="module")
def hub():
    with run_hub() as address:
        yield address


def start_hub_process(endpoint: str, home: Path) -> HubProcess:
    """Start a process whose hub client uses `endpoint`."""
    unset = ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    inherited = {name: v for name, v in os.environ.items() if name not in unset}
    return HubProcess(
        {
            **inherited,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }
    )


@pytest.fixture(scope="module")
def hub_process(hub, tmp_path_factory):
    pool = start_hub_process(hub, tmp_path_factory.mktemp("hf"))
    yield pool
    pool.close()


@pytest.fixture
def process_without_hub(tmp_path):
    """Process whose hub client uses a port on which no server listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        pool = start_hub_process(address, tmp_path)
        yield pool
        pool.close()


@pytest.fixture
def fetch_from_hub(hub_process, tmp_path):
    """Return a function that fetches a model from the hub in `hub_process`."""
    HubHandler.requests.clear()

    def fetch_model(model_id: str, revision: str | None):
        settings = EngineSettings(model_id=model_id, model_revision=revision)
        source = find_source(settings, sagemaker_model_dir=tmp_path)
        return hub_process.fetch(source, settings, tmp_path)

    return fetch_model


@pytest.mark.parametrize("revision", [None, "main"])
def test_hub_branch_is_pinned_to_its_commit(fetch_from_hub, revision):
    weights = fetch_from_hub("acme/ocr", revision)

    assert weights.model_id == "acme/ocr"
    assert weights.revision == COMMIT
    assert weights.profile.name == "chandra"
    assert weights.num_bytes == 1000


def test_only_files_of_a_checkpoint_are_downloaded(fetch_from_hub):
    weights = fetch_from_hub("acme/ocr", None)

    assert {path.name for path in weights.path.iterdir()} == set(CHECKPOINT)


def test_full_commit_is_used_unchanged(fetch_from_hub):
    weights = fetch_from_hub("acme/ocr", OLDER_COMMIT)

    assert weights.revision == OLDER_COMMIT
    about_the_model = [r for r in HubHandler.requests if "acme/ocr" in r]
    assert about_the_model
    assert all(OLDER_COMMIT in request for request in about_the_model)
    assert not any("/revision/" in request for request in about_the_model)


def test_hub_files_are_not_downloaded_twice(fetch_from_hub):
    fetch_from_hub("acme/ocr", COMMIT)
    HubHandler.requests.clear()

    fetch_from_hub("acme/ocr", COMMIT)

    assert not any("/resolve/" in request for request in HubHandler.requests)


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_error_of_unknown_hub_model_names_the_settings(fetch_from_hub, revision):
    with pytest.raises(ModelLoadError, match=r"(?s)^acme/gone .* Check MODEL_ID"):
        fetch_from_hub("acme/gone", revision)


def test_error_of_unknown_hub_revision_names_the_setting(
    fetch_from_hub,
):
    with pytest.raises(ModelLoadError, match="MODEL_REVISION"):
        fetch_from_hub("acme/ocr", "no-such-branch")


def test_error_of_invalid_model_name_names_the_setting(
    fetch_from_hub,
):
    with pytest.raises(ModelLoadError, match="Check MODEL_ID"):
        fetch_from_hub("a/b/c d", None)


@pytest.mark.parametrize(
    "revision",
    # The client retries downloads of files several times before it raises an error.
    [None, pytest.param(COMMIT, marks=pytest.mark.slow)],
)
def test_error_of_unreachable_hub_suggests_model_dir(
    process_without_hub, tmp_path, revision
):
    source = Source("hub", "acme/ocr", revision)

    with pytest.raises(ModelLoadError, match=r"(?s)from the hub: .* or set MODEL_DIR"):
        process_without_hub.fetch(source, EngineSettings(), tmp_path)


# S3


def put(client: Any, prefix: str, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        client.put_object(Bucket="weights", Key=f"{prefix}/{name}", Body=content)


@pytest.fixture(scope="module")
def s3():
    """Client of an S3 server with the bucket `weights`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        patch.setenv("NO_PROXY", "127.0.0.1")
        import boto3

        client = boto3.client("s3")
        client.create_bucket(Bucket="weights")
        put(client, "chandra/v1", FILES)
        client.put_object(Bucket="weights", Key="chandra/v10/config.json", Body=b"[]")
        client.put_object(Bucket="weights", Key="notes/README.md", Body=b"# Notes")
        yield client
        client.close()
    server.stop()


def fetch_from_s3(uri: str, cache: Path, **settings: Any) -> LocalWeights:
    every = EngineSettings(model_s3_uri=uri, **settings)
    return fetch(find_source(every, sagemaker_model_dir=cache), every, cache)


@pytest.mark.parametrize("slash", ["", "/"])
def test_weights_are_downloaded_from_an_s3_prefix(s3, tmp_path, slash):
    weights = fetch_from_s3(f"s3://weights/chandra/v1{slash}", tmp_path)

    assert {p.name: p.read_bytes() for p in weights.path.iterdir()} == CHECKPOINT
    assert weights.model_id == f"s3://weights/chandra/v1{slash}"
    assert weights.profile.name == "chandra"


def test_revision_setting_applies_to_weights_from_s3(s3, tmp_path):
    weights = fetch_from_s3(
        "s3://weights/chandra/v1", tmp_path, model_revision="2026-11"
    )

    assert weights.revision == "2026-11"


def test_s3_files_are_not_downloaded_twice(s3, tmp_path):
    first = fetch_from_s3("s3://weights/chandra/v1", tmp_path)
    before = {path: path.stat().st_ino for path in first.path.iterdir()}

    again = fetch_from_s3("s3://weights/chandra/v1", tmp_path)

    assert {path: path.stat().st_ino for path in again.path.iterdir()} == before


def test_truncated_file_is_downloaded_again(s3, tmp_path):
    weights = fetch_from_s3("s3://weights/chandra/v1", tmp_path)
    (weights.path / "model.safetensors").write_bytes(b"\x00")

    again = fetch_from_s3("s3://weights/chandra/v1", tmp_path)

    assert again.num_bytes == 1000


def test_changed_weights_are_stored_in_another_folder(s3, tmp_path):
    put(s3, "changing", CHECKPOINT)
    before = fetch_from_s3("s3://weights/changing", tmp_path)
    # The size is the same; only the ETag differs.
    other = tensor_file("weight", size=1000, fill=1)
    put(s3, "changing", {"model.safetensors": other})

    after = fetch_from_s3("s3://weights/changing", tmp_path)

    assert (after.path / "model.safetensors").read_bytes() == other
    assert (before.path / "model.safetensors").read_bytes() != other


def test_folders_below_the_prefix_are_ignored(s3, tmp_path):
    put(s3, "nested", CHECKPOINT)
    put(s3, "nested/onnx", {"config.json": b'{"model_type": "llama"}'})

    weights = fetch_from_s3("s3://weights/nested", tmp_path)

    assert weights.profile.name == "chandra"
    assert {path.name for path in weights.path.iterdir()} == set(CHECKPOINT)


def test_cache_dir_that_is_a_file_is_an_error(s3, tmp_path):
    cache = tmp_path / "cache"
    cache.write_text("a file where the folder should be")

    with pytest.raises(
        ModelLoadError, match=r"^s3://.* could not be fetched: .*Not a directory"
    ):
        fetch_from_s3("s3://weights/chandra/v1", cache)


@pytest.mark.parametrize("prefix", ["nothing", "notes"])
def test_prefix_without_weights_is_an_error(s3, tmp_path, prefix):
    with pytest.raises(ModelLoadError, match=f"s3://weights/{prefix} has no config"):
        fetch_from_s3(f"s3://weights/{prefix}", tmp_path)


def test_missing_bucket_is_an_error(s3, tmp_path):
    with pytest.raises(
        ModelLoadError,
        match=r"s3://gone/p could not be fetched: there is no bucket gone",
    ):
        fetch_from_s3("s3://gone/p", tmp_path)
