"""Where weights come from, what they are found to be, and what is said of the rest.

The hub is a small server of ours with the real client before it, S3 is moto's.
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
from handler.weights.source import MINI, Source, Weights, fetch, find_source
from tests.checkpoints import tensor_file
from tests.handler.weights.hub_process import HubProcess
from tests.hub import CHECKPOINT, COMMIT, FILES, OLDER_COMMIT, Hub, serving


def checkpoint_at(folder: Path, **config: Any) -> Path:
    """A folder that looks like a checkpoint with `config`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(tensor_file("weight", size=1000))
    return folder


# Which source


@pytest.fixture
def places(tmp_path):
    """Folders in place of /opt/ml/model and the embedded model, both in use."""
    return {
        "sagemaker_model_dir": checkpoint_at(tmp_path / "opt", model_type="qwen3_vl"),
        "mini": checkpoint_at(tmp_path / "mini", model_type="qwen3_vl"),
    }


@pytest.fixture
def only_mini(places, tmp_path):
    return places | {"sagemaker_model_dir": tmp_path / "nothing"}


def test_a_folder_that_is_named_comes_first(places, tmp_path):
    folder = checkpoint_at(tmp_path / "mine", model_type="qwen3_vl")
    settings = EngineSettings(
        model_dir=str(folder), model_s3_uri="s3://b/p", model_id="acme/ocr"
    )

    assert find_source(settings, **places) == Source("folder", str(folder))


def test_sagemakers_folder_comes_next(places):
    settings = EngineSettings(model_s3_uri="s3://b/p", model_id="acme/ocr")

    assert find_source(settings, **places) == Source(
        "folder", str(places["sagemaker_model_dir"])
    )


def test_then_comes_s3(only_mini):
    settings = EngineSettings(
        model_s3_uri="s3://b/p", model_id="acme/ocr", model_revision="v1"
    )

    assert find_source(settings, **only_mini) == Source("s3", "s3://b/p", "v1")


def test_then_comes_the_hub(only_mini):
    settings = EngineSettings(model_id="acme/ocr", model_revision=COMMIT)

    assert find_source(settings, **only_mini) == Source("hub", "acme/ocr", COMMIT)


@pytest.mark.parametrize("model_id", [None, "mini"])
def test_the_embedded_model_comes_last(only_mini, model_id):
    source = find_source(EngineSettings(model_id=model_id), **only_mini)

    assert source == Source("mini", str(only_mini["mini"]))


def test_only_what_is_on_this_machine_may_turn_out_to_be_mini():
    kinds = ("folder", "s3", "hub", "mini")

    assert [k for k in kinds if Source(k, "x").may_be_mini] == ["folder", "mini"]


def test_a_named_folder_without_a_model_is_an_error_and_not_skipped(places, tmp_path):
    settings = EngineSettings(model_dir=str(tmp_path / "empty"))

    with pytest.raises(ModelLoadError, match=r"MODEL_DIR is .*empty, which holds no"):
        find_source(settings, **places)


@pytest.mark.parametrize("uri", ["https://b/p", "s3:///p", "b/p", "s3:b", ""])
def test_a_uri_that_is_not_s3s_shows_how_to_write_one(only_mini, uri):
    with pytest.raises(ModelLoadError, match="must be s3://bucket/prefix, not"):
        find_source(EngineSettings(model_s3_uri=uri), **only_mini)


def test_without_any_weights_the_ways_to_name_some_are_told(tmp_path):
    with pytest.raises(ModelLoadError, match="set MODEL_DIR, MODEL_S3_URI or MODEL_ID"):
        find_source(
            EngineSettings(), sagemaker_model_dir=tmp_path, mini=tmp_path / "nothing"
        )


# What a folder holds


def fetched(folder: Path, **settings: Any) -> Weights:
    return fetch(
        Source("folder", str(folder)), EngineSettings(**settings), folder / "cache"
    )


def test_the_embedded_model_is_mini(tmp_path):
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
def test_the_weights_say_which_model_they_are(tmp_path, config, name):
    assert fetched(checkpoint_at(tmp_path, **config)).profile.name == name


def test_the_profile_that_was_asked_for_wins(tmp_path):
    folder = checkpoint_at(tmp_path, model_type="qwen3_vl", chandra_profile="mini")

    assert fetched(folder, model_profile="chandra").profile.name == "chandra"


@pytest.mark.parametrize("config", [{"model_type": "llama"}, {}])
def test_a_model_that_is_none_of_ours_is_refused_by_its_type(tmp_path, config):
    folder = checkpoint_at(tmp_path / "other", **config)

    with pytest.raises(ModelLoadError, match=r"other is of type (llama|None), which"):
        fetched(folder)


@pytest.mark.parametrize("profile", [["mini"], 2, {}])
def test_a_profile_that_is_no_name_is_refused(tmp_path, profile):
    folder = checkpoint_at(tmp_path, model_type="qwen3_vl", chandra_profile=profile)

    with pytest.raises(ModelLoadError, match=r"chandra_profile in .*, not a name$"):
        fetched(folder)


def test_an_unknown_profile_is_told_which_there_are(tmp_path):
    folder = checkpoint_at(tmp_path, model_type="qwen3_vl")

    with pytest.raises(
        ModelLoadError, match=r"profile maxi; .* chandra, chandra-2, mini"
    ):
        fetched(folder, model_profile="maxi")


def test_a_profile_for_another_type_is_refused_with_both(tmp_path):
    folder = checkpoint_at(tmp_path, model_type="qwen3_5")

    with pytest.raises(ModelLoadError, match=r"type qwen3_5, but .* for qwen3_vl"):
        fetched(folder, model_profile="chandra")


def test_a_folder_is_named_after_itself_unless_it_has_a_name(tmp_path):
    folder = checkpoint_at(tmp_path / "v7", model_type="qwen3_vl")

    assert fetched(folder).model_id == "v7"
    named = fetched(folder, model_id="acme/ocr", model_revision="r1")
    assert (named.model_id, named.revision) == ("acme/ocr", "r1")


def test_the_size_is_that_of_all_weights(tmp_path):
    folder = checkpoint_at(tmp_path, model_type="qwen3_vl")
    (folder / "model-2.safetensors").write_bytes(b"\x00" * 500)

    assert fetched(folder).num_bytes == 1500


@pytest.mark.parametrize(
    ("config", "is_trained"),
    [({}, True), ({"chandra_weights": "random"}, False)],
)
def test_random_weights_are_known_as_such(tmp_path, config, is_trained):
    folder = checkpoint_at(tmp_path, model_type="qwen3_vl", **config)

    assert fetched(folder).is_trained is is_trained


def test_a_folder_without_weights_is_refused(tmp_path):
    folder = checkpoint_at(tmp_path, model_type="qwen3_vl")
    (folder / "model.safetensors").unlink()

    with pytest.raises(ModelLoadError, match=r"holds no \*.safetensors"):
        fetched(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"[]", "is not a JSON object"),
    ],
)
def test_a_config_that_is_none_is_refused(tmp_path, content, words):
    folder = checkpoint_at(tmp_path)
    (folder / "config.json").write_bytes(content)

    with pytest.raises(ModelLoadError, match=f"config.json {words}"):
        fetched(folder)


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(ModelLoadError, match=r"config.json cannot be read"):
        fetched(tmp_path)


# The Hugging Face hub


@pytest.fixture(scope="module")
def hub():
    with serving() as address:
        yield address


def process_with_hub(endpoint: str, home: Path) -> HubProcess:
    """A process whose client takes this hub for the real one."""
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
    pool = process_with_hub(hub, tmp_path_factory.mktemp("hf"))
    yield pool
    pool.close()


@pytest.fixture
def process_without_hub(tmp_path):
    """A process whose hub is at a port that nobody listens on."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        pool = process_with_hub(address, tmp_path)
        yield pool
        pool.close()


@pytest.fixture
def fetched_from_hub(hub_process, tmp_path):
    """Fetches a model from the hub, at a revision, in that process."""
    Hub.requests.clear()

    def fetch_it(model_id: str, revision: str | None):
        settings = EngineSettings(model_id=model_id, model_revision=revision)
        source = find_source(settings, sagemaker_model_dir=tmp_path)
        return hub_process.fetch(source, settings, tmp_path)

    return fetch_it


@pytest.mark.parametrize("revision", [None, "main"])
def test_a_branch_of_the_hub_is_pinned_to_its_commit(fetched_from_hub, revision):
    weights = fetched_from_hub("acme/ocr", revision)

    assert weights.model_id == "acme/ocr"
    assert weights.revision == COMMIT
    assert weights.profile.name == "chandra"
    assert weights.num_bytes == 1000


def test_only_what_a_checkpoint_needs_is_fetched(fetched_from_hub):
    weights = fetched_from_hub("acme/ocr", None)

    assert {path.name for path in weights.path.iterdir()} == set(CHECKPOINT)


def test_a_full_commit_is_used_as_it_is(fetched_from_hub):
    weights = fetched_from_hub("acme/ocr", OLDER_COMMIT)

    assert weights.revision == OLDER_COMMIT
    about_the_model = [r for r in Hub.requests if "acme/ocr" in r]
    assert about_the_model
    assert all(OLDER_COMMIT in request for request in about_the_model)
    assert not any("/revision/" in request for request in about_the_model)


def test_what_was_fetched_from_the_hub_is_not_fetched_again(fetched_from_hub):
    fetched_from_hub("acme/ocr", COMMIT)
    Hub.requests.clear()

    fetched_from_hub("acme/ocr", COMMIT)

    assert not any("/resolve/" in request for request in Hub.requests)


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_model_the_hub_does_not_have_is_an_error_that_says_what_to_check(
    fetched_from_hub, revision
):
    with pytest.raises(ModelLoadError, match=r"(?s)^acme/gone .* Check MODEL_ID"):
        fetched_from_hub("acme/gone", revision)


def test_a_revision_the_hub_does_not_have_is_an_error_that_says_what_to_check(
    fetched_from_hub,
):
    with pytest.raises(ModelLoadError, match="MODEL_REVISION"):
        fetched_from_hub("acme/ocr", "no-such-branch")


def test_a_name_that_no_model_can_have_is_an_error_that_says_what_to_check(
    fetched_from_hub,
):
    with pytest.raises(ModelLoadError, match="Check MODEL_ID"):
        fetched_from_hub("a/b/c d", None)


@pytest.mark.parametrize(
    "revision",
    # Files of a commit are asked for again and again before it is given up.
    [None, pytest.param(COMMIT, marks=pytest.mark.slow)],
)
def test_a_hub_that_cannot_be_reached_is_an_error_that_says_what_to_do(
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
    """An S3 with one bucket, `weights`; the client of it."""
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


def fetched_from_s3(uri: str, cache: Path, **settings: Any) -> Weights:
    every = EngineSettings(model_s3_uri=uri, **settings)
    return fetch(find_source(every, sagemaker_model_dir=cache), every, cache)


@pytest.mark.parametrize("slash", ["", "/"])
def test_weights_come_from_a_prefix_in_s3(s3, tmp_path, slash):
    weights = fetched_from_s3(f"s3://weights/chandra/v1{slash}", tmp_path)

    assert {p.name: p.read_bytes() for p in weights.path.iterdir()} == CHECKPOINT
    assert weights.model_id == f"s3://weights/chandra/v1{slash}"
    assert weights.profile.name == "chandra"


def test_weights_from_s3_may_be_given_a_revision(s3, tmp_path):
    weights = fetched_from_s3(
        "s3://weights/chandra/v1", tmp_path, model_revision="2026-11"
    )

    assert weights.revision == "2026-11"


def test_what_was_fetched_from_s3_is_not_fetched_again(s3, tmp_path):
    first = fetched_from_s3("s3://weights/chandra/v1", tmp_path)
    before = {path: path.stat().st_ino for path in first.path.iterdir()}

    again = fetched_from_s3("s3://weights/chandra/v1", tmp_path)

    assert {path: path.stat().st_ino for path in again.path.iterdir()} == before


def test_a_file_that_was_cut_short_is_fetched_again(s3, tmp_path):
    weights = fetched_from_s3("s3://weights/chandra/v1", tmp_path)
    (weights.path / "model.safetensors").write_bytes(b"\x00")

    again = fetched_from_s3("s3://weights/chandra/v1", tmp_path)

    assert again.num_bytes == 1000


def test_weights_that_changed_in_s3_are_fetched_into_a_folder_of_their_own(
    s3, tmp_path
):
    put(s3, "changing", CHECKPOINT)
    before = fetched_from_s3("s3://weights/changing", tmp_path)
    # As long as before: only its ETag says that it is another.
    other = tensor_file("weight", size=1000, fill=1)
    put(s3, "changing", {"model.safetensors": other})

    after = fetched_from_s3("s3://weights/changing", tmp_path)

    assert (after.path / "model.safetensors").read_bytes() == other
    assert (before.path / "model.safetensors").read_bytes() != other


def test_what_lies_in_folders_below_the_prefix_is_left_there(s3, tmp_path):
    put(s3, "nested", CHECKPOINT)
    put(s3, "nested/onnx", {"config.json": b'{"model_type": "llama"}'})

    weights = fetched_from_s3("s3://weights/nested", tmp_path)

    assert weights.profile.name == "chandra"
    assert {path.name for path in weights.path.iterdir()} == set(CHECKPOINT)


def test_a_cache_that_is_no_folder_is_an_error_with_its_reason(s3, tmp_path):
    cache = tmp_path / "cache"
    cache.write_text("a file where the folder should be")

    with pytest.raises(
        ModelLoadError, match=r"^s3://.* could not be fetched: .*Not a directory"
    ):
        fetched_from_s3("s3://weights/chandra/v1", cache)


@pytest.mark.parametrize("prefix", ["nothing", "notes"])
def test_a_prefix_without_weights_is_an_error(s3, tmp_path, prefix):
    with pytest.raises(ModelLoadError, match=f"s3://weights/{prefix} holds no config"):
        fetched_from_s3(f"s3://weights/{prefix}", tmp_path)


def test_a_bucket_that_does_not_exist_is_an_error(s3, tmp_path):
    with pytest.raises(
        ModelLoadError,
        match=r"s3://gone/p could not be fetched: there is no bucket gone",
    ):
        fetched_from_s3("s3://gone/p", tmp_path)
