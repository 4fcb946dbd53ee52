"""Requests that TorchServe sends, repeats and drops while others are being read."""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref

import pytest

from handler.errors import RequestError
from handler.http.reply import Reply
from handler.schema import PageError, PageResult, Status
from handler.worker.open_request import OpenRequest
from handler.worker.pump import ABANDONED_SECONDS_PER_BYTE, Pump
from tests.fakes import FakeContext
from tests.handler.worker.manual_reader import ROW_A, ROW_B, UNANSWERED
from tests.waiting import until


def test_a_finished_request_is_answered_while_another_still_runs(pump, reader):
    pump.serve_call([ROW_A, ROW_B], FakeContext({0: "id-a", 1: "id-b"}))
    reader.finish("id-b")
    context = FakeContext({0: "id-a", 1: "id-b"})

    bodies = pump.serve_call([ROW_A, ROW_B], context)

    assert bodies == [UNANSWERED, b"read"]
    assert context.request_ids == {1: "id-b"}
    assert context.statuses == {1: 200}
    assert context.content_types == {1: "text/plain"}


def test_repeated_request_is_read_once(pump, reader):
    for _ in range(3):
        pump.serve_call([ROW_A], FakeContext({0: "id-a"}))

    reader.wait_for("id-a")
    assert len(reader.requests) == 1


def test_body_of_a_repeated_request_is_freed_at_once(pump, reader):
    first, again = bytearray(b"page"), bytearray(b"page")
    pump.serve_call([{"body": first}], FakeContext({0: "a"}))

    pump.serve_call([{"body": again}], FakeContext({0: "a"}))

    assert bytes(first) == b"page"
    assert not again
    reader.finish("a")


class LocalObject:
    """Object to which only a failing function refers."""


def test_variables_of_a_failed_read_are_freed_at_once(make_pump):
    references = []

    def fail(_: OpenRequest) -> Reply:
        local_object = LocalObject()
        references.append(weakref.ref(local_object))
        # The errors' tracebacks refer to this frame, which refers to the errors.
        error = RequestError("no")
        try:
            raise LookupError
        except LookupError as cause:
            local_cause = cause  # noqa: F841
            raise error from cause

    gc.disable()
    try:
        make_pump(read=fail).serve_call([ROW_A], FakeContext({0: "id-a"}))
        until(lambda: references and references[0]() is None)
    finally:
        gc.enable()


def test_a_request_that_torchserve_stops_sending_is_cancelled(pump, reader):
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.wait_for("id-a")

    pump.serve_call([ROW_B], FakeContext({0: "id-b"}))

    assert reader.requests["id-a"].is_cancelled
    assert not reader.requests["id-b"].is_cancelled


def test_abandoned_requests_are_cancelled(make_pump, reader):
    """TorchServe does not call again if its last client has disconnected."""
    pump = make_pump(abandoned_seconds=0.05)
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.wait_for("id-a")

    until(lambda: reader.requests["id-a"].is_cancelled)


def test_requests_with_large_bodies_are_cancelled_later(make_pump, reader):
    """Sending hundreds of megabytes on a busy machine takes many seconds."""
    pump = make_pump(abandoned_seconds=0.05)
    body = bytes(5_000_000)
    pump.serve_call([{"body": body}], FakeContext({0: "id-a"}))
    last_call_at = time.monotonic()
    reader.wait_for("id-a")

    until(lambda: reader.requests["id-a"].is_cancelled)

    assert time.monotonic() - last_call_at > len(body) * ABANDONED_SECONDS_PER_BYTE


def test_cancelled_request_is_answered_if_it_is_sent_again(make_pump, reader):
    pump = make_pump(abandoned_seconds=0.05)
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.wait_for("id-a")
    # The pump cancels the request, and the reader then raises an error.
    until(lambda: reader.requests["id-a"].future.done())
    context = FakeContext({0: "id-a"})

    [body] = pump.serve_call([ROW_A], context)

    assert context.statuses == {0: 400}
    assert json.loads(body)["detail"] == "cancelled"
    assert len(reader.requests) == 1


def test_draining_refuses_new_and_answers_open_requests(pump, reader):
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.wait_for("id-a")
    draining = threading.Thread(target=pump.drain, args=(30, "bye"), daemon=True)
    draining.start()

    reader.finish("id-a")
    context = FakeContext({0: "id-a", 1: "id-b"})
    pump.serve_call([ROW_A, ROW_B], context)

    assert context.statuses == {0: 200, 1: 503}
    draining.join(5)
    assert not draining.is_alive()


def test_answer_is_sent_although_its_report_fails(reader):
    def fail(request, reply):
        raise LookupError("no such metric")

    pump = Pump(
        reader,
        max_open_requests=4,
        max_reply_bytes=1000,
        wait_seconds=0.01,
        report=fail,
    )
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.finish("id-a")

    assert pump.serve_call([ROW_A], FakeContext({0: "id-a"})) == [b"read"]
    pump.close()


def test_a_call_returns_as_soon_as_there_is_an_answer(make_pump, reader):
    pump = make_pump(wait_seconds=5)
    call = threading.Thread(
        target=pump.serve_call, args=([ROW_A], FakeContext({0: "id-a"})), daemon=True
    )
    call.start()

    reader.finish("id-a")

    call.join(2)
    assert not call.is_alive()


def test_errors_are_answered_without_internal_details(pump, reader):
    pump.serve_call([ROW_A, ROW_B], FakeContext({0: "id-a", 1: "id-b"}))
    reader.finish("id-a", RequestError("no document"))
    reader.finish("id-b", ZeroDivisionError("a secret of the implementation"))
    context = FakeContext({0: "id-a", 1: "id-b"})

    bodies = pump.serve_call([ROW_A, ROW_B], context)

    assert context.statuses == {0: 400, 1: 500}
    assert json.loads(bodies[0])["detail"] == "no document"
    assert b"secret" not in bodies[1]
    assert json.loads(bodies[1])["request_id"] == "id-b"


def test_requests_above_the_limit_are_overloaded(make_pump):
    pump = make_pump(max_open_requests=1)
    context = FakeContext({0: "id-a", 1: "id-b"})

    bodies = pump.serve_call([ROW_A, ROW_B], context)

    assert context.request_ids == {1: "id-b"}
    assert context.statuses == {1: 503}
    assert context.response_headers[1]["Retry-After"] == "10"
    assert json.loads(bodies[1])["code"] == "overloaded"


def test_too_large_answer_is_replaced_by_an_error(pump, reader):
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.finish("id-a", Reply(200, "text/plain", b"x" * 2000))
    context = FakeContext({0: "id-a"})

    [body] = pump.serve_call([ROW_A], context)

    assert context.statuses == {0: 413}
    assert json.loads(body)["code"] == "document_too_large"


def test_failure_of_the_pump_answers_all_requests(pump, reader):
    class Broken(FakeContext):
        def get_all_request_header(self, index):
            raise LookupError("not a request's fault")

    context = Broken({0: "id-a", 1: "id-b"})

    bodies = pump.serve_call([ROW_A, ROW_B], context)

    assert context.statuses == {0: 500, 1: 500}
    assert [json.loads(body)["code"] for body in bodies] == ["internal"] * 2
    assert context.request_ids == {0: "id-a", 1: "id-b"}


def test_failure_of_the_pump_ends_a_stream_with_a_line(pump, reader):
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.wait_for("id-a")
    reader.requests["id-a"].stream(b"one\n")
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))

    class Broken(FakeContext):
        def get_all_request_header(self, index):
            raise LookupError("not a request's fault")

    context = Broken({0: "id-a", 1: "id-b"})
    stream, other = pump.serve_call([{}, ROW_B], context)

    assert json.loads(stream)["event"] == "error"
    assert context.stopping_criteria[0](stream) is True
    assert context.stopping_criteria[1](other) is None


def test_every_answer_is_reported_once(pump, reader, reports):
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.finish("id-a")
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    pump.serve_call([ROW_B], FakeContext({0: "id-b"}))

    assert [(request.id, reply.status) for request, reply in reports] == [("id-a", 200)]


# Clients that disconnect


def test_disconnected_request_is_reported_as_client_gone(pump, reader, reports):
    pump.serve_call([ROW_A, ROW_B], FakeContext({0: "id-a", 1: "id-b"}))
    until(lambda: {"id-a", "id-b"} <= set(reader.requests))

    pump.disconnect({"id-a", "unknown"})
    until(lambda: reader.requests["id-a"].future.done())
    context = FakeContext({0: "id-a", 1: "id-b"})
    pump.serve_call([ROW_A, ROW_B], context)

    assert context.statuses == {0: 499}
    assert [(request.id, reply.code) for request, reply in reports] == [
        ("id-a", "client_gone")
    ]
    assert not reader.requests["id-b"].is_cancelled


def test_pages_read_before_the_disconnect_are_counted(make_pump, reports):
    read = PageResult(page=1, status=Status.SUCCESS, output_tokens=7)
    unread = PageResult(
        page=2, status=Status.FAILURE, error=PageError("engine_unavailable", "gone")
    )

    def stop(request: OpenRequest) -> Reply:
        until(lambda: request.is_cancelled)
        return Reply(200, "text/plain", b"one of two", pages=(read, unread))

    pump = make_pump(read=stop)
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))

    pump.disconnect({"id-a"})
    until(lambda: pump.serve_call([ROW_A], FakeContext({0: "id-a"})) != [UNANSWERED])

    [(_, reply)] = reports
    assert (reply.status, reply.pages) == (499, (read,))


def test_finished_answer_is_sent_after_a_disconnect(pump, reader, reports):
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.finish("id-a")

    pump.disconnect({"id-a"})
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))

    assert [reply.status for _, reply in reports] == [200]


@pytest.mark.parametrize("another_is_sent", [True, False])
def test_dropped_request_is_reported_without_another_call(
    make_pump, reader, reports, another_is_sent
):
    pump = make_pump(abandoned_seconds=0.05)
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.wait_for("id-a")
    if another_is_sent:
        pump.serve_call([ROW_B], FakeContext({0: "id-b"}))
    else:
        pump.disconnect({"id-a"})

    until(lambda: reports)

    assert [(request.id, reply.status) for request, reply in reports] == [("id-a", 499)]


def test_a_pump_without_requests_is_not_stuck(make_pump, reader):
    pump = make_pump(abandoned_seconds=0.05)
    assert not pump.is_stuck
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.finish("id-a")
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))

    time.sleep(0.1)

    assert not pump.is_stuck


def test_the_pump_is_stuck_until_a_finished_reply_is_fetched(make_pump, reader):
    pump = make_pump(abandoned_seconds=0.05)
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.finish("id-a")

    until(lambda: pump.is_stuck)
    assert pump.serve_call([ROW_A], FakeContext({0: "id-a"})) == [b"read"]

    assert not pump.is_stuck


def test_pump_is_stuck_while_a_call_takes_too_long(make_pump, reader):
    pump = make_pump(max_call_seconds=0.05)
    may_continue = threading.Event()

    class BlockingContext(FakeContext):
        def get_all_request_header(self, index):
            may_continue.wait()
            return super().get_all_request_header(index)

    call = threading.Thread(
        target=pump.serve_call,
        args=([ROW_A], BlockingContext({0: "id-a"})),
        daemon=True,
    )
    call.start()
    until(lambda: pump.is_stuck)

    may_continue.set()
    call.join()

    assert not pump.is_stuck


def test_disconnected_client_does_not_make_the_pump_stuck(make_pump, reader):
    pump = make_pump(abandoned_seconds=0.05)
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.wait_for("id-a")

    pump.disconnect({"id-a"})
    until(lambda: reader.requests["id-a"].future.done())
    time.sleep(0.1)

    assert not pump.is_stuck


def arrival_header(seconds_ago: float) -> dict[str, str]:
    """Return the header in which frontend/ states when a request arrived."""
    return {"X-Chandra-Arrival": str(time.monotonic_ns() - int(seconds_ago * 1e9))}


def test_queue_time_counts_from_the_arrival_header(pump, reader):
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}, {0: arrival_header(40)}))

    reader.wait_for("id-a")
    request = reader.requests["id-a"]
    assert time.monotonic() - request.received_at == pytest.approx(40, abs=5)
    assert request.queue_seconds == pytest.approx(40, abs=5)


@pytest.mark.parametrize(
    "headers",
    [
        dict,
        lambda: arrival_header(-60),
        lambda: arrival_header(100_000),
        lambda: {"x-chandra-arrival": "noon"},
        lambda: {"x-chandra-arrival": "9" * 400},
    ],
    ids=["none", "in the future", "yesterday", "no number", "no float"],
)
def test_an_impossible_arrival_header_is_ignored(pump, reader, headers):
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}, {0: headers()}))

    reader.wait_for("id-a")
    assert reader.requests["id-a"].queue_seconds == 0


def test_other_requests_are_read_if_one_cannot_be_accepted(pump, reader):
    class BrokenRow(dict[str, object]):
        def values(self):
            raise RuntimeError("no values")

    context = FakeContext({0: "id-a", 1: "id-b"})

    pump.serve_call([ROW_A, BrokenRow()], context)

    assert context.statuses == {1: 500}
    reader.wait_for("id-a")


def test_a_queued_request_is_accepted_while_the_server_drains(pump, reader):
    pump.refuse("stopping", accepts_queued=True)

    pump.serve_call(
        [ROW_A, ROW_B], FakeContext({0: "id-a", 1: "id-b"}, {0: arrival_header(1)})
    )

    reader.wait_for("id-a")
    assert "id-b" not in reader.requests


def test_nothing_is_accepted_once_no_engine_is_left(pump, reader):
    pump.refuse("no engine is left")
    context = FakeContext({0: "id-a"}, {0: arrival_header(1)})

    pump.serve_call([ROW_A], context)

    assert context.statuses == {0: 503}
