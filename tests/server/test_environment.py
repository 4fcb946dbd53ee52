"""How a container is told what to do."""

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
    wanted_from,
)

GIB = 1024**3


def wanted(memory_bytes: int = 64 * GIB, **environ: str):
    return wanted_from(environ, memory_bytes)


def handler_of(subject):
    table = yaml.safe_load(MODEL_CONFIG.read_text())["handler"]
    return read_settings(table, subject.handler)


def test_the_port_is_the_one_that_the_platform_gives():
    subject = wanted(SAGEMAKER_BIND_TO_PORT="9000")

    assert subject.properties["inference_address"] == "http://0.0.0.0:9000"


def test_without_a_word_it_is_port_8080_and_a_machine_of_ones_own():
    subject = wanted()

    assert subject.properties["inference_address"] == "http://0.0.0.0:8080"
    assert subject.use is Use.LOCAL


def test_ports_that_nobody_else_sees_are_fixed_where_nobody_else_is():
    assert wanted().has_fixed_ports
    assert not wanted(PRIVATE_PORTS="any").has_fixed_ports
    with pytest.raises(VariableError, match="PRIVATE_PORTS must be fixed or any"):
        wanted(PRIVATE_PORTS="some")


def test_batch_transform_says_so_itself():
    assert wanted(SAGEMAKER_BATCH="true").use is Use.BATCH


@pytest.mark.parametrize(
    ("use", "request_mb"),
    [("local", 140), ("realtime", 25), ("async", 1024), ("batch", 100)],
)
def test_a_request_may_be_as_large_as_its_use_allows(use, request_mb):
    subject = wanted(SERVE_USE=use)

    assert subject.properties["max_request_size"] == str(request_mb * MIB)


def test_a_batch_job_that_names_a_payload_gets_it_and_is_told_it_again():
    subject = wanted(SAGEMAKER_BATCH="true", SAGEMAKER_MAX_PAYLOAD_IN_MB="50")

    assert subject.properties["max_request_size"] == str(50 * MIB)
    assert subject.properties["chandra_max_payload_mb"] == "50"


def test_a_batch_job_without_a_limit_gets_the_largest_there_is():
    subject = wanted(SAGEMAKER_BATCH="true", SAGEMAKER_MAX_PAYLOAD_IN_MB="0")

    assert subject.request_mb == 1024


def test_batch_transform_is_told_a_payload_that_leaves_room_for_four_at_once():
    assert wanted(SAGEMAKER_BATCH="true").payload_mb == 25


@pytest.mark.parametrize("use", list(Use))
def test_a_reply_the_handler_lets_through_does_not_end_the_worker(use):
    subject = wanted(SERVE_USE=use)
    handler, _ = handler_of(subject)

    assert handler.max_reply_bytes < int(subject.properties["max_response_size"])


@pytest.mark.parametrize("use", list(Use))
def test_a_document_is_no_larger_than_the_request_it_comes_in(use):
    subject = wanted(SERVE_USE=use)
    handler, _ = handler_of(subject)

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
def test_in_a_batch_job_there_is_no_deadline(environ):
    handler, _ = handler_of(wanted(**environ))

    assert handler.deadline_seconds is None


@pytest.mark.parametrize(
    ("timeout", "deadline"),
    [(None, 870), ("3600", 3570), ("900", 870), ("61", 31), ("60", 30), ("10", 5)],
)
def test_an_asynchronous_answer_leaves_before_sagemaker_gives_up(timeout, deadline):
    environ = {} if timeout is None else {"ASYNC_INVOCATION_TIMEOUT_SECONDS": timeout}
    handler, _ = handler_of(wanted(SERVE_USE="async", **environ))

    assert handler.deadline_seconds == deadline


def test_the_shortest_asynchronous_timeout_still_is_one():
    subject = wanted(SERVE_USE="async", ASYNC_INVOCATION_TIMEOUT_SECONDS="1")
    handler, _ = handler_of(subject)

    assert handler.deadline_seconds == 0.5


@pytest.mark.parametrize("use", ["async", "batch"])
def test_documents_of_a_thousand_pages_are_for_where_nobody_waits(use):
    handler, _ = handler_of(wanted(SERVE_USE=use))

    assert handler.max_pages >= 1000


def test_a_job_is_a_job_whatever_its_model_was_made_for():
    subject = wanted(SAGEMAKER_BATCH="true", SERVE_USE="realtime")

    assert subject.use is Use.BATCH
    assert subject.request_mb == 100


@pytest.mark.parametrize("use", list(Use))
def test_a_document_in_s3_may_be_as_large_as_sagemakers_largest(use):
    handler, _ = handler_of(wanted(SERVE_USE=use))

    assert handler.max_s3_document_bytes == GIB


@pytest.mark.parametrize(
    ("use", "streams"), [("local", True), ("realtime", True), ("async", False)]
)
def test_replies_are_streamed_unless_they_are_stored(use, streams):
    handler, _ = handler_of(wanted(SERVE_USE=use))

    assert handler.stream_replies is streams


def test_batch_transform_does_not_stream_replies():
    handler, _ = handler_of(wanted(SAGEMAKER_BATCH="true"))

    assert handler.stream_replies is False


def test_where_somebody_waits_there_is_one():
    handler, _ = handler_of(wanted(SERVE_USE="realtime"))

    assert handler.deadline_seconds == 55


def test_timeouts_go_where_torchserve_reads_them():
    subject = wanted(STARTUP_TIMEOUT_SECONDS="3600", RESPONSE_TIMEOUT_SECONDS="300")

    assert subject.model_config["startupTimeout"] == 3600
    assert subject.model_config["responseTimeout"] == 300


@pytest.mark.parametrize("seconds", ["30", "1800", "3600"])
def test_the_handler_gives_up_loading_first_and_says_why(seconds):
    subject = wanted(STARTUP_TIMEOUT_SECONDS=seconds)
    _, engine = handler_of(subject)

    assert engine.load_seconds < subject.model_config["startupTimeout"]


def test_a_start_that_takes_long_may_be_tried_again():
    subject = wanted(STARTUP_TIMEOUT_SECONDS="3600")

    assert subject.model_config["maxRetryTimeoutInSec"] >= 3600


@pytest.mark.parametrize("memory_gib", [2, 4, 16, 64])
def test_javas_heap_is_a_third_of_the_memory_at_most(memory_gib):
    subject = wanted(memory_gib * GIB, SERVE_USE="async")

    assert subject.heap_mb * MIB <= memory_gib * GIB // 3


def test_the_heap_holds_every_request_that_is_sent_at_once_where_there_is_memory():
    subject = wanted(SERVE_USE="realtime")

    assert 32 * 25 <= subject.heap_mb < 16 * 1024


@pytest.mark.parametrize("memory_gib", [6, 16])
def test_what_is_sent_at_once_fits_into_the_heap_with_its_copies(memory_gib):
    subject = wanted(memory_gib * GIB, SERVE_USE="realtime")

    waiting, seen = 32 * 25, subject.batch_size * 25
    assert waiting + 2 * seen < subject.heap_mb


def test_with_memory_enough_the_handler_sees_all_that_are_open():
    assert wanted(64 * GIB, SERVE_USE="realtime").batch_size >= 32


def test_the_heap_can_be_set():
    assert "-Xmx777m" in wanted(JAVA_HEAP_MB="777").properties["vmargs"]


def test_the_server_is_handed_to_nobody_unless_somebody_is_named():
    assert wanted().uid is None
    assert wanted(SERVE_UID="10001").uid == 10001
    assert wanted(SERVE_UID="0").uid is None


def test_a_drain_is_over_before_the_platform_kills():
    assert wanted().drain_seconds <= MAX_DRAIN_SECONDS


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
def test_a_value_that_makes_no_sense_is_named_with_what_would(name, value, hint):
    with pytest.raises(VariableError, match=name) as caught:
        wanted(**{name: value})

    assert hint in str(caught.value)


@pytest.mark.parametrize(("use", "num_requests"), [("local", 32), ("async", 4)])
def test_as_many_usual_bodies_as_are_planned_have_room_at_once(use, num_requests):
    subject = wanted(SERVE_USE=use)

    budget_mb = int(subject.properties["chandra_body_budget_mb"])
    assert budget_mb >= num_requests * int(subject.properties["chandra_body_usual_mb"])


def test_with_little_memory_one_usual_body_still_has_room():
    subject = wanted(GIB // 2)

    budget_mb = int(subject.properties["chandra_body_budget_mb"])
    assert budget_mb >= int(subject.properties["chandra_body_usual_mb"])


def test_bodies_and_their_copies_never_take_more_than_the_heap():
    subject = wanted(8 * GIB)

    usual_mb = int(subject.properties["chandra_body_usual_mb"])
    copies_mb = 3 * subject.batch_size * usual_mb
    budget_mb = int(subject.properties["chandra_body_budget_mb"])
    assert budget_mb + copies_mb < subject.heap_mb
