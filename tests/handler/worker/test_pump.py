"""Requests that come and go while others are being read."""

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
from tests.handler.worker.reads import UNANSWERED, A, B
from tests.waiting import until


def test_a_finished_request_is_answered_while_another_still_runs(pump, reads):
    pump.turn([A, B], FakeContext({0: "id-a", 1: "id-b"}))
    reads.finish("id-b")
    context = FakeContext({0: "id-a", 1: "id-b"})

    bodies = pump.turn([A, B], context)

    assert bodies == [UNANSWERED, b"read"]
    assert context.request_ids == {1: "id-b"}
    assert context.statuses == {1: 200}
    assert context.content_types == {1: "text/plain"}


def test_repeated_request_is_read_once(pump, reads):
    for _ in range(3):
        pump.turn([A], FakeContext({0: "id-a"}))

    until(lambda: "id-a" in reads.requests)
    assert len(reads.requests) == 1


def test_body_of_a_repeated_request_is_freed_at_once(pump, reads):
    first, again = bytearray(b"page"), bytearray(b"page")
    pump.turn([{"body": first}], FakeContext({0: "a"}))

    pump.turn([{"body": again}], FakeContext({0: "a"}))

    assert bytes(first) == b"page"
    assert not again
    reads.finish("a")


class Held:
    """Object to which a failing function refers."""


def test_variables_of_a_failed_read_are_freed_at_once(make_pump):
    seen = []

    def fail(_: OpenRequest) -> Reply:
        held = Held()
        seen.append(weakref.ref(held))
        error = RequestError("no")  # with its traceback and this frame it makes a cycle
        try:
            raise LookupError
        except LookupError as cause:
            kept = cause  # noqa: F841
            raise error from cause

    gc.disable()
    try:
        make_pump(read=fail).turn([A], FakeContext({0: "id-a"}))
        until(lambda: seen and seen[0]() is None)
    finally:
        gc.enable()


def test_a_request_torchserve_no_longer_sends_is_cancelled(pump, reads):
    pump.turn([A], FakeContext({0: "id-a"}))
    until(lambda: "id-a" in reads.requests)

    pump.turn([B], FakeContext({0: "id-b"}))

    assert reads.requests["id-a"].is_cancelled
    assert not reads.requests["id-b"].is_cancelled


def test_abandoned_requests_are_cancelled(make_pump, reads):
    """TorchServe does not call again if its last client has disconnected."""
    pump = make_pump(abandoned_seconds=0.05)
    pump.turn([A], FakeContext({0: "id-a"}))
    until(lambda: "id-a" in reads.requests)

    until(lambda: reads.requests["id-a"].is_cancelled)


def test_large_bodies_delay_the_abandonment(make_pump, reads):
    """Sending hundreds of megabytes on a busy machine takes many seconds."""
    pump = make_pump(abandoned_seconds=0.05)
    body = bytes(5_000_000)
    pump.turn([{"body": body}], FakeContext({0: "id-a"}))
    last_turn = time.monotonic()
    until(lambda: "id-a" in reads.requests)

    until(lambda: reads.requests["id-a"].is_cancelled)

    assert time.monotonic() - last_turn > len(body) * ABANDONED_SECONDS_PER_BYTE


def test_request_cancelled_too_early_is_still_answered(make_pump, reads):
    pump = make_pump(abandoned_seconds=0.05)
    pump.turn([A], FakeContext({0: "id-a"}))
    until(lambda: "id-a" in reads.requests)
    until(lambda: reads.requests["id-a"].future.done())
    context = FakeContext({0: "id-a"})

    [body] = pump.turn([A], context)

    assert context.statuses == {0: 400}
    assert json.loads(body)["detail"] == "cancelled"
    assert len(reads.requests) == 1


def test_draining_refuses_new_and_answers_open_requests(pump, reads):
    pump.turn([A], FakeContext({0: "id-a"}))
    until(lambda: "id-a" in reads.requests)
    draining = threading.Thread(target=pump.drain, args=(30, "bye"), daemon=True)
    draining.start()

    reads.finish("id-a")
    context = FakeContext({0: "id-a", 1: "id-b"})
    pump.turn([A, B], context)

    assert context.statuses == {0: 200, 1: 503}
    draining.join(5)
    assert not draining.is_alive()


def test_failing_report_costs_no_answer(reads):
    def forget(request, reply):
        raise LookupError("no such metric")

    pump = Pump(
        reads,
        max_open_requests=4,
        max_reply_bytes=1000,
        wait_seconds=0.01,
        report=forget,
    )
    pump.turn([A], FakeContext({0: "id-a"}))
    reads.finish("id-a")

    assert pump.turn([A], FakeContext({0: "id-a"})) == [b"read"]
    pump.close()


def test_answer_ends_the_wait_of_a_turn(make_pump, reads):
    pump = make_pump(wait_seconds=5)
    turn = threading.Thread(
        target=pump.turn, args=([A], FakeContext({0: "id-a"})), daemon=True
    )
    turn.start()

    reads.finish("id-a")

    turn.join(2)
    assert not turn.is_alive()


def test_error_of_a_request_is_its_own_answer(pump, reads):
    pump.turn([A, B], FakeContext({0: "id-a", 1: "id-b"}))
    reads.finish("id-a", RequestError("no document"))
    reads.finish("id-b", ZeroDivisionError("a secret of the implementation"))
    context = FakeContext({0: "id-a", 1: "id-b"})

    bodies = pump.turn([A, B], context)

    assert context.statuses == {0: 400, 1: 500}
    assert json.loads(bodies[0])["detail"] == "no document"
    assert b"secret" not in bodies[1]
    assert json.loads(bodies[1])["request_id"] == "id-b"


def test_requests_above_the_limit_are_overloaded(make_pump):
    pump = make_pump(max_open_requests=1)
    context = FakeContext({0: "id-a", 1: "id-b"})

    bodies = pump.turn([A, B], context)

    assert context.request_ids == {1: "id-b"}
    assert context.statuses == {1: 503}
    assert context.response_headers[1]["Retry-After"] == "10"
    assert json.loads(bodies[1])["code"] == "overloaded"


def test_too_large_answer_is_replaced_by_an_error(pump, reads):
    pump.turn([A], FakeContext({0: "id-a"}))
    reads.finish("id-a", Reply(200, "text/plain", b"x" * 2000))
    context = FakeContext({0: "id-a"})

    [body] = pump.turn([A], context)

    assert context.statuses == {0: 413}
    assert json.loads(body)["code"] == "document_too_large"


def test_failure_of_the_pump_answers_all_requests(pump, reads):

    class Broken(FakeContext):
        def get_all_request_header(self, index):
            raise LookupError("not a request's fault")

    context = Broken({0: "id-a", 1: "id-b"})

    bodies = pump.turn([A, B], context)

    assert context.statuses == {0: 500, 1: 500}
    assert [json.loads(body)["code"] for body in bodies] == ["internal"] * 2
    assert context.request_ids == {0: "id-a", 1: "id-b"}


def test_failure_of_the_pump_ends_a_stream_with_a_line(pump, reads):
    pump.turn([A], FakeContext({0: "id-a"}))
    until(lambda: "id-a" in reads.requests)
    reads.requests["id-a"].stream(b"one\n")
    pump.turn([A], FakeContext({0: "id-a"}))

    class Broken(FakeContext):
        def get_all_request_header(self, index):
            raise LookupError("not a request's fault")

    context = Broken({0: "id-a", 1: "id-b"})
    stream, other = pump.turn([{}, B], context)

    assert json.loads(stream)["event"] == "error"
    assert context.stopping_criteria[0](stream) is True
    assert context.stopping_criteria[1](other) is None


def test_every_answer_is_reported_once(pump, reads, reports):
    pump.turn([A], FakeContext({0: "id-a"}))
    reads.finish("id-a")
    pump.turn([A], FakeContext({0: "id-a"}))
    pump.turn([B], FakeContext({0: "id-b"}))

    assert [(request.id, reply.status) for request, reply in reports] == [("id-a", 200)]


# Clients that disconnect


def test_disconnected_request_is_reported_as_client_gone(pump, reads, reports):
    pump.turn([A, B], FakeContext({0: "id-a", 1: "id-b"}))
    until(lambda: {"id-a", "id-b"} <= set(reads.requests))

    pump.disconnect({"id-a", "unknown"})
    until(lambda: reads.requests["id-a"].future.done())
    context = FakeContext({0: "id-a", 1: "id-b"})
    pump.turn([A, B], context)

    assert context.statuses == {0: 499}
    assert [(request.id, reply.code) for request, reply in reports] == [
        ("id-a", "client_gone")
    ]
    assert not reads.requests["id-b"].is_cancelled


def test_pages_read_before_the_disconnect_are_counted(make_pump, reports):
    read = PageResult(page=1, status=Status.SUCCESS, output_tokens=7)
    unread = PageResult(
        page=2, status=Status.FAILURE, error=PageError("engine_unavailable", "gone")
    )

    def stop(request: OpenRequest) -> Reply:
        until(lambda: request.is_cancelled)
        return Reply(200, "text/plain", b"one of two", pages=(read, unread))

    pump = make_pump(read=stop)
    pump.turn([A], FakeContext({0: "id-a"}))

    pump.disconnect({"id-a"})
    until(lambda: pump.turn([A], FakeContext({0: "id-a"})) != [UNANSWERED])

    [(_, reply)] = reports
    assert (reply.status, reply.pages) == (499, (read,))


def test_finished_answer_is_kept_after_a_disconnect(pump, reads, reports):
    pump.turn([A], FakeContext({0: "id-a"}))
    reads.finish("id-a")

    pump.disconnect({"id-a"})
    pump.turn([A], FakeContext({0: "id-a"}))

    assert [reply.status for _, reply in reports] == [200]


@pytest.mark.parametrize("has_another", [True, False])
def test_dropped_stream_is_reported_without_another_call(
    make_pump, reads, reports, has_another
):
    pump = make_pump(abandoned_seconds=0.05)
    pump.turn([A], FakeContext({0: "id-a"}))
    until(lambda: "id-a" in reads.requests)
    if has_another:
        pump.turn([B], FakeContext({0: "id-b"}))
    else:
        pump.disconnect({"id-a"})

    until(lambda: reports)

    assert [(request.id, reply.status) for request, reply in reports] == [("id-a", 499)]


def test_a_pump_without_requests_is_not_stuck(make_pump, reads):
    pump = make_pump(abandoned_seconds=0.05)
    assert not pump.is_stuck
    pump.turn([A], FakeContext({0: "id-a"}))
    reads.finish("id-a")
    pump.turn([A], FakeContext({0: "id-a"}))

    time.sleep(0.1)

    assert not pump.is_stuck


def test_the_pump_is_stuck_until_a_finished_reply_has_left(make_pump, reads):
    pump = make_pump(abandoned_seconds=0.05)
    pump.turn([A], FakeContext({0: "id-a"}))
    reads.finish("id-a")

    until(lambda: pump.is_stuck)
    assert pump.turn([A], FakeContext({0: "id-a"})) == [b"read"]

    assert not pump.is_stuck


def test_pump_is_stuck_while_a_turn_is_too_long(make_pump, reads):
    """Block a turn in the report of a reply."""
    pump = make_pump(max_turn_seconds=0.05)
    goes_on = threading.Event()

    class Slow(FakeContext):
        def get_all_request_header(self, index):
            goes_on.wait()
            return super().get_all_request_header(index)

    turn = threading.Thread(
        target=pump.turn, args=([A], Slow({0: "id-a"})), daemon=True
    )
    turn.start()
    until(lambda: pump.is_stuck)

    goes_on.set()
    turn.join()

    assert not pump.is_stuck


def test_disconnected_client_does_not_make_the_pump_stuck(make_pump, reads):
    pump = make_pump(abandoned_seconds=0.05)
    pump.turn([A], FakeContext({0: "id-a"}))
    until(lambda: "id-a" in reads.requests)

    pump.disconnect({"id-a"})
    until(lambda: reads.requests["id-a"].future.done())
    time.sleep(0.1)

    assert not pump.is_stuck


def arrival_header(seconds_ago: float) -> dict[str, str]:
    """Return the header in which frontend/ stamps the arrival of a request."""
    return {"X-Chandra-Arrival": str(time.monotonic_ns() - int(seconds_ago * 1e9))}


def test_arrival_stamp_of_the_frontend_is_used(pump, reads):
    pump.turn([A], FakeContext({0: "id-a"}, {0: arrival_header(40)}))

    until(lambda: "id-a" in reads.requests)
    request = reads.requests["id-a"]
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
def test_an_impossible_arrival_is_ignored(pump, reads, headers):
    pump.turn([A], FakeContext({0: "id-a"}, {0: headers()}))

    until(lambda: "id-a" in reads.requests)
    assert reads.requests["id-a"].queue_seconds == 0


def test_a_request_that_cannot_be_accepted_fails_alone(pump, reads):
    class Row(dict[str, object]):
        def values(self):
            raise RuntimeError("no values")

    ids = {0: "id-a", 1: "id-b"}
    context = FakeContext(dict(ids))

    pump.turn([A, Row()], context)

    assert context.statuses == {1: 500}
    until(lambda: "id-a" in reads.requests)


def test_a_queued_request_is_accepted_while_the_server_drains(pump, reads):
    pump.refuse("stopping", accepts_queued=True)

    pump.turn([A, B], FakeContext({0: "id-a", 1: "id-b"}, {0: arrival_header(1)}))

    until(lambda: "id-a" in reads.requests)
    assert "id-b" not in reads.requests


def test_nothing_is_accepted_once_no_engine_is_left(pump, reads):
    pump.refuse("no engine is left")
    context = FakeContext({0: "id-a"}, {0: arrival_header(1)})

    pump.turn([A], context)

    assert context.statuses == {0: 503}
