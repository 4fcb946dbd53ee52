"""Settings of a container from its environment variables."""

from __future__ import annotations

import pytest
import yaml

from handler.settings import read_settings
from server.archive import MODEL_CONFIG
from server.environment import (
    MAX_DRAIN_SECONDS,
    MIB,
    Use,
    VariableError,
    read_environment,
)

GIB = 1024**3


def container_settings(memory_bytes: int = 64 * GIB, **environ: str):
    """Return the settings of a container with this memory and these variables."""
    return read_environment(environ, memory_bytes)


def handler_settings(subject):
    """Return the handler's and the engine's settings in a container."""
    table = yaml.safe_load(MODEL_CONFIG.read_text())["handler"]
    return read_settings(table, subject.handler)


def test_port_comes_from_sagemakers_variable():
    subject = container_settings(SAGEMAKER_BIND_TO_PORT="9000")

    assert subject.properties["inference_address"] == "http://0.0.0.0:9000"


def test_defaults_are_port_8080_and_local_use():
    subject = container_settings()

    assert subject.properties["inference_address"] == "http://0.0.0.0:8080"
    assert subject.use is Use.LOCAL


def test_private_ports_are_fixed_unless_any_is_set():
    assert container_settings().has_fixed_ports
    assert not container_settings(PRIVATE_PORTS="any").has_fixed_ports
    with pytest.raises(VariableError, match="PRIVATE_PORTS must be fixed or any"):
        container_settings(PRIVATE_PORTS="some")


def test_sagemakers_variable_selects_batch_use():
    assert container_settings(SAGEMAKER_BATCH="true").use is Use.BATCH


@pytest.mark.parametrize(
    ("use", "request_mb"),
    [("local", 140), ("realtime", 25), ("async", 1024), ("batch", 100)],
)
def test_request_limit_depends_on_the_use(use, request_mb):
    subject = container_settings(SERVE_USE=use)

    assert subject.properties["max_request_size"] == str(request_mb * MIB)


def test_batch_payload_limit_is_applied_and_announced():
    subject = container_settings(
        SAGEMAKER_BATCH="true", SAGEMAKER_MAX_PAYLOAD_IN_MB="50"
    )

    assert subject.properties["max_request_size"] == str(50 * MIB)
    assert subject.properties["chandra_max_payload_mb"] == "50"


def test_batch_job_without_a_limit_gets_the_largest_one():
    subject = container_settings(
        SAGEMAKER_BATCH="true", SAGEMAKER_MAX_PAYLOAD_IN_MB="0"
    )

    assert subject.request_mb == 1024


def test_announced_batch_payload_allows_four_at_once():
    assert container_settings(SAGEMAKER_BATCH="true").payload_mb == 25


@pytest.mark.parametrize("use", list(Use))
def test_reply_limit_is_below_torchserves_limit(use):
    subject = container_settings(SERVE_USE=use)
    handler, _ = handler_settings(subject)

    assert handler.max_reply_bytes < int(subject.properties["max_response_size"])


@pytest.mark.parametrize("use", list(Use))
def test_document_limit_is_at_most_the_request_limit(use):
    subject = container_settings(SERVE_USE=use)
    handler, _ = handler_settings(subject)

    assert handler.max_document_bytes <= int(subject.properties["max_request_size"])


@pytest.mark.parametrize(
    "environ",
    [
        {"SERVE_USE": "batch"},
        {"SAGEMAKER_BATCH": "true"},
        {"SAGEMAKER_BATCH": "true", "SERVE_USE": "realtime"},
        {"SAGEMAKER_BATCH": "true", "ASYNC_INVOCATION_TIMEOUT_SECONDS": "60"},
    ],
)
def test_batch_job_has_no_deadline(environ):
    handler, _ = handler_settings(container_settings(**environ))

    assert handler.deadline_seconds is None


@pytest.mark.parametrize(
    ("timeout", "deadline"),
    [(None, 870), ("3600", 3570), ("900", 870), ("61", 31), ("60", 30), ("10", 5)],
)
def test_async_deadline_is_before_sagemakers_timeout(timeout, deadline):
    environ = {} if timeout is None else {"ASYNC_INVOCATION_TIMEOUT_SECONDS": timeout}
    handler, _ = handler_settings(container_settings(SERVE_USE="async", **environ))

    assert handler.deadline_seconds == deadline


def test_shortest_async_timeout_gives_a_positive_deadline():
    subject = container_settings(
        SERVE_USE="async", ASYNC_INVOCATION_TIMEOUT_SECONDS="1"
    )
    handler, _ = handler_settings(subject)

    assert handler.deadline_seconds == 0.5


@pytest.mark.parametrize("use", ["async", "batch"])
def test_async_and_batch_accept_a_thousand_pages(use):
    handler, _ = handler_settings(container_settings(SERVE_USE=use))

    assert handler.max_pages >= 1000


def test_batch_variable_takes_precedence_over_serve_use():
    subject = container_settings(SAGEMAKER_BATCH="true", SERVE_USE="realtime")

    assert subject.use is Use.BATCH
    assert subject.request_mb == 100


@pytest.mark.parametrize("use", list(Use))
def test_s3_document_limit_is_sagemakers_largest_payload(use):
    handler, _ = handler_settings(container_settings(SERVE_USE=use))

    assert handler.max_s3_document_bytes == GIB


@pytest.mark.parametrize(
    ("use", "streams"), [("local", True), ("realtime", True), ("async", False)]
)
def test_replies_are_streamed_unless_they_are_stored(use, streams):
    handler, _ = handler_settings(container_settings(SERVE_USE=use))

    assert handler.stream_replies is streams


def test_batch_transform_does_not_stream_replies():
    handler, _ = handler_settings(container_settings(SAGEMAKER_BATCH="true"))

    assert handler.stream_replies is False


def test_realtime_use_has_a_deadline():
    handler, _ = handler_settings(container_settings(SERVE_USE="realtime"))

    assert handler.deadline_seconds == 55


def test_timeouts_are_written_to_model_config():
    subject = container_settings(
        STARTUP_TIMEOUT_SECONDS="3600", RESPONSE_TIMEOUT_SECONDS="300"
    )

    assert subject.model_config["startupTimeout"] == 3600
    assert subject.model_config["responseTimeout"] == 300


@pytest.mark.parametrize("seconds", ["30", "1800", "3600"])
def test_handlers_load_timeout_is_before_torchserves(seconds):
    subject = container_settings(STARTUP_TIMEOUT_SECONDS=seconds)
    _, engine = handler_settings(subject)

    assert engine.load_seconds < subject.model_config["startupTimeout"]


def test_retry_window_is_at_least_the_startup_timeout():
    subject = container_settings(STARTUP_TIMEOUT_SECONDS="3600")

    assert subject.model_config["maxRetryTimeoutInSec"] >= 3600


@pytest.mark.parametrize("memory_gib", [2, 4, 16, 64])
def test_javas_heap_is_a_third_of_the_memory_at_most(memory_gib):
    subject = container_settings(memory_gib * GIB, SERVE_USE="async")

    assert subject.heap_mb * MIB <= memory_gib * GIB // 3


def test_heap_holds_all_concurrent_requests_if_possible():
    subject = container_settings(SERVE_USE="realtime")

    assert 32 * 25 <= subject.heap_mb < 16 * 1024


@pytest.mark.parametrize("memory_gib", [6, 16])
def test_concurrent_requests_and_copies_fit_into_the_heap(memory_gib):
    subject = container_settings(memory_gib * GIB, SERVE_USE="realtime")

    waiting_mb, handler_mb = 32 * 25, subject.batch_size * 25
    assert waiting_mb + 2 * handler_mb < subject.heap_mb


def test_large_memory_lets_the_handler_see_all_requests():
    assert container_settings(64 * GIB, SERVE_USE="realtime").batch_size >= 32


def test_the_heap_can_be_set():
    assert "-Xmx777m" in container_settings(JAVA_HEAP_MB="777").properties["vmargs"]


def test_user_changes_only_if_serve_uid_is_set():
    assert container_settings().uid is None
    assert container_settings(SERVE_UID="10001").uid == 10001
    assert container_settings(SERVE_UID="0").uid is None


def test_drain_ends_before_sagemakers_sigkill():
    assert container_settings().drain_seconds <= MAX_DRAIN_SECONDS


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("SERVE_USE", "realtme", "local, realtime, async, batch"),
        ("SAGEMAKER_BIND_TO_PORT", "http", "from 1 to 65535"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "101", "from 0 to 100"),
        ("DRAIN_SECONDS", "29", "from 0 to 22"),
        ("STARTUP_TIMEOUT_SECONDS", "1.5", "a whole number"),
        ("ASYNC_INVOCATION_TIMEOUT_SECONDS", "3601", "from 1 to 3600"),
        ("ASYNC_INVOCATION_TIMEOUT_SECONDS", "0", "from 1 to 3600"),
    ],
)
def test_invalid_value_is_reported_with_valid_ones(name, value, hint):
    with pytest.raises(VariableError, match=name) as caught:
        container_settings(**{name: value})

    assert hint in str(caught.value)


@pytest.mark.parametrize(("use", "num_requests"), [("local", 32), ("async", 4)])
def test_budget_holds_the_planned_number_of_usual_bodies(use, num_requests):
    subject = container_settings(SERVE_USE=use)

    budget_mb = int(subject.properties["chandra_body_budget_mb"])
    assert budget_mb >= num_requests * int(subject.properties["chandra_body_usual_mb"])


def test_budget_holds_a_usual_body_with_little_memory():
    subject = container_settings(GIB // 2)

    budget_mb = int(subject.properties["chandra_body_budget_mb"])
    assert budget_mb >= int(subject.properties["chandra_body_usual_mb"])


def test_body_budget_and_copies_fit_into_the_heap():
    subject = container_settings(8 * GIB)

    usual_mb = int(subject.properties["chandra_body_usual_mb"])
    copies_mb = 3 * subject.batch_size * usual_mb
    budget_mb = int(subject.properties["chandra_body_budget_mb"])
    assert budget_mb + copies_mb < subject.heap_mb
