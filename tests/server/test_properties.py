"""Consistency of TorchServe's configuration with the handler's settings."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
import yaml

from handler.settings import read_settings
from handler.worker.pump import MAX_WAIT_SECONDS
from server.archive import MODEL_CONFIG, MODEL_NAME, ROOT
from server.torchserve import read_properties

PROPERTIES = read_properties(ROOT / "config.properties")
MODEL = yaml.safe_load(MODEL_CONFIG.read_text())
HANDLER, ENGINE = read_settings(MODEL.get("handler") or {}, {})


def test_handler_table_holds_only_settings():
    assert isinstance(MODEL["handler"], dict)
    assert read_settings(MODEL["handler"], {}) == (HANDLER, ENGINE)


def test_reply_limit_is_below_torchserves_limit():
    assert HANDLER.max_reply_bytes <= int(PROPERTIES["max_response_size"])


def test_a_document_as_large_as_the_limit_fits_in_base64():
    base64_bytes = -(-HANDLER.max_document_bytes // 3) * 4
    other_json_bytes = 10_000

    assert base64_bytes + other_json_bytes <= int(PROPERTIES["max_request_size"])


def test_there_is_one_worker():
    assert MODEL["minWorkers"] == MODEL["maxWorkers"] == 1


def test_continuous_batching_is_enabled():
    assert MODEL["continuousBatching"] is True
    assert "asyncCommunication" not in MODEL


def test_batch_size_exceeds_the_handlers_request_limit():
    assert MODEL["batchSize"] > HANDLER.max_open_requests


def test_timeouts_are_set_explicitly():
    assert MODEL["responseTimeout"] > MAX_WAIT_SECONDS
    assert MODEL["startupTimeout"] > 0


def test_the_handler_gives_up_loading_before_torchserve_does():
    assert ENGINE.load_seconds < MODEL["startupTimeout"]


def test_readme_states_the_number_of_bodies_that_fit():
    # The number of copies is a constant of the frontend.
    budget_source = (ROOT / "frontend/src/chandra/frontend/Budget.java").read_text()
    [copies] = re.findall(r"int COPIES = (\d+);", budget_source)
    assert PROPERTIES["chandra_body_usual_mb"] == "0"
    budget = int(PROPERTIES["chandra_body_budget_mb"])
    readme = (ROOT / "server" / "README.md").read_text()

    [numbers] = re.findall(
        r"with 2 GB that is above (\d+) of (\d+) MiB at once, or (\d+) of (\d+) MiB",
        " ".join(readme.split()),
    )

    num_large, large_mb, num_small, small_mb = map(int, numbers)
    assert "-Xmx2g" in PROPERTIES["vmargs"]
    assert num_large == budget // ((1 + int(copies)) * large_mb)
    assert num_small == budget // ((1 + int(copies)) * small_mb)


def test_token_authorization_is_disabled():
    assert PROPERTIES["disable_token_authorization"] == "true"


def test_no_other_model_can_be_loaded():
    assert PROPERTIES["enable_model_api"] == "false"
    assert PROPERTIES["load_models"] == f"{MODEL_NAME}.mar"
    assert PROPERTIES["install_py_dep_per_model"] == "false"


@pytest.mark.parametrize("listener", ["inference", "management", "metrics"])
def test_every_listener_is_on_loopback(listener):
    address = urlsplit(PROPERTIES[f"{listener}_address"])

    assert (address.scheme, address.hostname) == ("http", "127.0.0.1")


def test_no_two_listeners_share_a_port():
    ports = [urlsplit(v).port for k, v in PROPERTIES.items() if k.endswith("_address")]
    ports += [int(v) for k, v in PROPERTIES.items() if k.endswith("_port")]

    assert len(ports) == 6
    assert len(set(ports)) == len(ports)


def test_bodies_are_not_decoded_by_torchserve():
    assert PROPERTIES["decode_input_request"] == "false"


def test_configured_files_exist():
    assert (ROOT / PROPERTIES["metrics_config"]).is_file()
    assert (ROOT / PROPERTIES["model_store"]).is_dir()


def test_properties_have_comments_and_trimmed_values(tmp_path):
    file = tmp_path / "config.properties"
    file.write_text("# a comment\n\n a = b=c \nempty=\n")

    assert read_properties(file) == {"a": "b=c", "empty": ""}
