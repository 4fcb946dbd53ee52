"""Detection of weights by their config.json, and the place where they are staged."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from deploy.aws.buckets import bucket_region, refuse_other_region
from deploy.config import read_config
from deploy.errors import ConfigError, DeployError
from deploy.weights.checkpoint import recognise_checkpoint
from deploy.weights.files import MANIFEST

CHANDRA_1 = {"model_type": "qwen3_vl", "text_config": {"num_hidden_layers": 36}}
CHANDRA_2 = {"model_type": "qwen3_5", "text_config": {"num_hidden_layers": 32}}
MINI = {
    "model_type": "qwen3_vl",
    "chandra_profile": "mini",
    "text_config": {"num_hidden_layers": 6},
}
SMALLER = {"model_type": "qwen3_vl", "text_config": {"num_hidden_layers": 28}}
LLAMA = {"model_type": "llama"}


@pytest.fixture
def write_folder(tmp_path):
    """Return a function that writes a folder of weights: `folder(config)`."""
    root = tmp_path / "weights"
    root.mkdir()
    (root / "model.safetensors").write_bytes(b"weights")

    def write(config):
        text = config if isinstance(config, str) else json.dumps(config)
        (root / "config.json").write_text(text)
        return root

    return write


@pytest.fixture
def bucket(cloud, wire):
    wire.call("s3", "create_bucket", Bucket="weights")
    cloud.calls.clear()


def read_manifest(wire, model, revision="v1"):
    key = f"models/{model}/{revision}/{MANIFEST}"
    answer = wire.call("s3", "get_object", Bucket="weights", Key=key)
    return json.loads(answer["Body"].read())


# What weights are


@pytest.mark.parametrize(
    ("config", "line", "profile"),
    [
        (CHANDRA_1, "Chandra 1", "chandra"),
        (CHANDRA_2, "Chandra 2", "chandra-2"),
        (MINI, "mini", "mini"),
        (SMALLER, None, "chandra"),
        ({"model_type": "qwen3_vl"}, "Chandra 1", "chandra"),
        ({"model_type": "qwen3_vl", "num_hidden_layers": 36}, "Chandra 1", "chandra"),
    ],
    ids=["chandra", "chandra-2", "mini", "smaller", "sizeless", "flat"],
)
def test_line_is_recognised_by_type_and_size(write_folder, config, line, profile):
    recognised = recognise_checkpoint(write_folder(config))

    assert (recognised.line, recognised.profile) == (line, profile)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("acme/ocr-ft", "acme/ocr-ft"), ("/data/runs/500", None), ("./out", None),
     ("ocr", None), (7, None)],
)  # fmt: skip
def test_only_hub_names_are_accepted(write_folder, name, expected):
    assert (
        recognise_checkpoint(write_folder(CHANDRA_1 | {"_name_or_path": name})).name
        == expected
    )


@pytest.mark.parametrize(
    "config",
    [{}, "", "[]", "{", "\x00", {"model_type": None}, '{"model_type": []}'],
    ids=["object", "empty", "list", "half", "binary", "null", "typed"],
)
def test_config_without_model_type_is_refused(write_folder, config):
    with pytest.raises(ConfigError) as caught:
        recognise_checkpoint(write_folder(config))

    assert caught.value.hint


def test_other_architecture_is_refused(bucket, chandra, cloud, write_folder):
    result = chandra(
        "model", "stage", "--from", str(write_folder(LLAMA)), "--model", "acme/l"
    )

    assert result.status == 2
    assert "is not a Chandra model: its model_type is 'llama'" in result.err
    assert cloud.changes == []


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.text(max_size=5), inner, max_size=2),
    ),
    max_leaves=5,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    config=st.fixed_dictionaries(
        {"model_type": st.one_of(st.sampled_from(["qwen3_vl", "qwen3_5"]), JSON)},
        optional={
            "chandra_profile": JSON,
            "text_config": JSON,
            "num_hidden_layers": JSON,
            "_name_or_path": JSON,
        },
    )
)
def test_any_config_is_recognised_or_refused(write_folder, config):
    try:
        is_told = recognise_checkpoint(write_folder(config)).sentence != ""
    except DeployError as error:
        is_told = error.hint is not None

    assert is_told


# Which name they are staged under


def test_manifest_tells_source_of_name(bucket, chandra, wire, write_folder):
    path = str(write_folder(CHANDRA_1))

    result = chandra("model", "stage", "--from", path, "--revision", "v1")

    assert result.status == 0, result.err
    assert "the architecture of Chandra 1" in result.out + result.err
    assert "config.json does not name it" in result.out + result.err
    source = read_manifest(wire, "datalab-to/chandra")["source"]
    assert (source["from"], source["named_by"]) == ("folder", "model.id")
    assert (source["line"], source["model_type"]) == ("Chandra 1", "qwen3_vl")


def test_hub_weights_have_name_of_hub(bucket, chandra, wire):
    chandra("model", "stage")

    manifest = read_manifest(wire, "datalab-to/chandra", "c0ffee")

    assert manifest["source"]["from"] == manifest["source"]["named_by"] == "hub"


@pytest.mark.parametrize(
    ("config", "words", "name"),
    [
        (CHANDRA_2, "the architecture of Chandra 2", "datalab-to/chandra-ocr-2"),
        (MINI, "the demonstration model mini", "mini"),
        (SMALLER, "of another size than Chandra", "NAME"),
        (CHANDRA_1 | {"_name_or_path": "acme/ocr"}, "names acme/ocr", "acme/ocr"),
    ],
    ids=["chandra-2", "mini", "smaller", "named"],
)
def test_other_weights_are_not_staged_as_chandra_1(
    bucket, chandra, cloud, write_folder, config, words, name
):
    result = chandra("model", "stage", "--from", str(write_folder(config)))

    assert result.status == 2
    assert words in result.err
    assert f"--model {name}" in result.err
    assert cloud.changes == []


def test_staged_weights_are_found_by_deployment(
    bucket, chandra, wire, write_folder, tmp_path
):
    path = tmp_path / "chandra.toml"
    path.write_text(path.read_text().replace("revision =", "# revision ="))
    name = "datalab-to/chandra-ocr-2"

    arguments = (
        "--from",
        str(write_folder(CHANDRA_2)),
        "--model",
        name,
        "--revision",
        "v1",
    )
    result = chandra("model", "stage", *arguments)

    assert result.status == 0, result.err
    assert read_manifest(wire, name)["source"]["named_by"] == "--model"
    model = read_config(path).model
    assert (model.id, model.revision) == (name, "v1")
    assert chandra("doctor").out.count("ok    weights") == 1


def test_given_name_overrules_only_name_in_config(bucket, chandra, write_folder):
    folder = str(
        write_folder(CHANDRA_1 | {"_name_or_path": "Qwen/Qwen3-VL-8B-Instruct"})
    )

    with_known_name = chandra(
        "model", "stage", "--from", folder, "--model", "datalab-to/chandra"
    )
    with_other_line = chandra("model", "stage", "--from", folder, "--model", "mini")

    assert with_known_name.status == 0, with_known_name.err
    assert with_other_line.status == 2


@pytest.mark.parametrize("name", ["../x", "a/b/c", "s3://x", "", "a b", "/a"])
def test_invalid_model_name_is_refused(chandra, cloud, write_folder, name):
    result = chandra(
        "model", "stage", "--from", str(write_folder(CHANDRA_1)), f"--model={name}"
    )

    assert result.status == 2
    assert "is not a model name" in result.err
    assert cloud.calls == []


# Where they are staged


@pytest.fixture
def bucket_in_other_region(cloud, wire):
    where = {"LocationConstraint": "eu-west-1"}
    wire.call("s3", "create_bucket", Bucket="weights", CreateBucketConfiguration=where)
    cloud.calls.clear()


@pytest.mark.parametrize("flags", [(), ("--dry-run",), ("--tar",)])
def test_bucket_of_another_region_is_refused(
    bucket_in_other_region, chandra, cloud, hub, flags
):
    result = chandra("model", "stage", *flags)

    assert result.status == 2
    assert "bucket weights is in eu-west-1" in result.err
    assert "to one in us-east-1, then chandra-sagemaker model stage" in result.err
    assert hub.fetched == cloud.changes == []


def test_bucket_region_is_checked_before_hashing(
    bucket_in_other_region, chandra, cloud, write_folder
):
    result = chandra("model", "stage", "--from", str(write_folder(CHANDRA_1)))

    assert result.status == 2
    assert "hashed" not in result.out + result.err
    assert cloud.changes == []


def test_region_is_read_from_head_bucket_if_denied(script, aws):
    scripted = script("s3")
    scripted.expects("get_bucket_location").refuses("AccessDenied", "not yours")
    scripted.expects("head_bucket").answers(BucketRegion="eu-west-1")

    with scripted:
        assert bucket_region(aws, "weights") == "eu-west-1"


@pytest.mark.parametrize(
    ("constraint", "region"),
    [(None, "us-east-1"), ("EU", "eu-west-1"), ("ap-south-1", "ap-south-1")],
)
def test_old_region_names_are_understood(script, aws, constraint, region):
    answer = {} if constraint is None else {"LocationConstraint": constraint}
    scripted = script("s3")
    scripted.expects("get_bucket_location").answers(**answer)

    with scripted:
        assert bucket_region(aws, "weights") == region


def test_denied_region_is_a_note(script, aws):
    scripted = script("s3")
    scripted.expects("get_bucket_location").refuses("AccessDenied", "not yours")
    scripted.expects("head_bucket").refuses("403", "Forbidden")

    with scripted:
        note = refuse_other_region(aws, "weights", why="X reads from", then="y")

    assert note is not None
    assert "the region of bucket weights is not known, and X reads from us-east-1" in (
        note
    )


def test_known_name_is_case_insensitive(chandra, write_folder, bucket):
    where = str(write_folder(MINI))

    result = chandra("model", "stage", "--from", where, "--model", "Datalab-to/Chandra")

    assert result.status == 2
    assert "Datalab-to/Chandra is Chandra 1" in result.err
