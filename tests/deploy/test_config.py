"""Settings of chandra.toml."""

from __future__ import annotations

import pytest

from deploy.config import config_from, read_config, write_lock
from deploy.errors import ConfigError


def assert_refused(sentence, **tables):
    """Check that tables of chandra.toml raise a ConfigError that matches `sentence`."""
    with pytest.raises(ConfigError, match=sentence):
        config_from(tables)


def test_empty_file_is_a_valid_configuration():
    config = config_from({})

    assert config.name == "chandra"
    assert config.endpoint.instance_types == ("ml.g6e.2xlarge",)
    assert config.endpoint.startup_timeout_seconds == 1200


def test_an_unknown_setting_names_its_nearest_neighbour():
    assert_refused(
        "endpoint.instance_typs; did you mean endpoint.instance_types",
        endpoint={"instance_typs": []},
    )


@pytest.mark.parametrize(
    ("sentence", "tables"),
    [
        ("name must be letters", {"name": "-ocr"}),
        ("name must be letters", {"name": "a" * 55}),
        ("role must be an ARN", {"role": "admin"}),
        ("image must be a table", {"image": "chandra"}),
        ("must be a whole number", {"endpoint": {"instance_count": "two"}}),
        ("must be a whole number", {"endpoint": {"instance_count": True}}),
        ("must be true or false", {"network": {"isolation": "yes"}}),
        ("must be a list of texts", {"endpoint": {"instance_types": "ml.g5.xlarge"}}),
        ("name at least one", {"endpoint": {"instance_types": []}}),
        ("names one twice", {"endpoint": {"instance_types": ["a", "a"]}}),
        ("allows 5", {"endpoint": {"instance_types": list("abcdef")}}),
        ("at least 1", {"endpoint": {"instance_count": 0}}),
        ("60 to 3600", {"endpoint": {"startup_timeout_seconds": 7200}}),
        ("go together", {"network": {"subnets": ["subnet-1"]}}),
        ("keeps the container from the hub", {"model": {"source": "hub"}}),
        ("must be s3 or hub", {"model": {"source": "nfs"}}),
        ("name a digest", {"image": {"uri": "repo:latest"}}),
        ("without s3://", {"model": {"bucket": "s3://weights"}}),
        ("blue-green or recreate", {"update": {"strategy": "canary"}}),
        ("must begin with s3://", {"capture": {"uri": "bucket/copies"}}),
        ("1 to 512", {"endpoint": {"volume_gb": 1000}}),
    ],
)
def test_invalid_setting_is_named(sentence, tables):
    assert_refused(sentence, **tables)


@pytest.mark.parametrize(
    ("table", "name", "choices"),
    [
        ("model", "source", "s3 or hub"),
        ("update", "strategy", "blue-green or recreate"),
        ("transform", "weights", "tar or pull"),
    ],
)
def test_value_outside_a_closed_set_is_named_with_the_choices(table, name, choices):
    with pytest.raises(ConfigError) as caught:
        config_from({table: {name: "nfs"}})

    assert caught.value.message == f"{table}.{name} must be {choices}, not nfs"
    assert_refused(f"{table}.{name} must be text, not 3", **{table: {name: 3}})


def test_the_variable_of_inference_components_is_refused():
    assert_refused(
        "SAGEMAKER_INFERENCE_COMPONENT_NAME: it belongs to inference components",
        endpoint={"environment": {"SAGEMAKER_INFERENCE_COMPONENT_NAME": ""}},
    )


@pytest.mark.parametrize("name", ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "API_KEY"])
def test_secret_in_the_environment_is_rejected(name):
    assert_refused("everyone who may describe", endpoint={"environment": {name: "x"}})


@pytest.mark.parametrize("value", ["hf_" + "a" * 30, "AKIA" + "A" * 16])
def test_credential_value_is_rejected_and_not_repeated(value):
    with pytest.raises(ConfigError, match=r"environment\.A is a credential") as caught:
        config_from({"endpoint": {"environment": {"A": value}}})

    assert value not in caught.value.message + (caught.value.hint or "")


def test_number_of_tokens_is_not_a_secret():
    environment = {"CHANDRA_MAX_OUTPUT_TOKENS": 4096}

    config = config_from({"endpoint": {"environment": environment}})

    assert config.endpoint.environment == {"CHANDRA_MAX_OUTPUT_TOKENS": "4096"}


def test_numbers_in_the_environment_become_text():
    config = config_from({"endpoint": {"environment": {"A": 8, "B": True}}})

    assert config.endpoint.environment == {"A": "8", "B": "true"}


def test_a_missing_file_says_how_to_write_one(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no .*chandra\.toml") as caught:
        read_config(tmp_path / "chandra.toml")

    assert caught.value.hint == "chandra-sagemaker init"


def test_an_error_in_the_file_names_the_file(tmp_path):
    path = tmp_path / "chandra.toml"
    path.write_text("nam = 'ocr'\n")

    with pytest.raises(ConfigError, match=r"chandra\.toml: unknown setting nam;"):
        read_config(path)


def test_lock_is_used_unless_the_file_sets_the_value(tmp_path):
    path = tmp_path / "chandra.toml"
    path.write_text("[model]\nbucket = 'weights'\n")
    write_lock(path, "image", {"uri": "repo@sha256:1"})
    write_lock(path, "model", {"revision": "abc"})

    config = read_config(path)
    path.write_text("[image]\nuri = 'repo@sha256:2'\n")
    overruled = read_config(path)

    assert config.image.uri == "repo@sha256:1"
    assert config.model.revision == "abc"
    assert config.model.bucket == "weights"
    assert overruled.image.uri == "repo@sha256:2"


def test_value_that_is_not_a_table_is_rejected():
    with pytest.raises(ConfigError, match="image must be a table"):
        config_from({"image": 3}, {"image": {"uri": "repo@sha256:1"}})
