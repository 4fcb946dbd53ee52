"""Streamed answers, and long answers that leave in several calls."""

from __future__ import annotations

import json

import pytest

from handler.errors import RequestError
from handler.http.reply import Reply
from handler.worker.pump import MAX_FRAME_BYTES
from tests.fakes import FakeContext
from tests.handler.worker.reads import A, B
from tests.waiting import until


def test_stream_is_sent_in_frames_until_the_last(pump, reads):
    pump.turn([A], FakeContext({0: "id-a"}))
    until(lambda: "id-a" in reads.requests)
    reads.requests["id-a"].stream(b"one\n")
    first, last = FakeContext({0: "id-a"}), FakeContext({0: "id-a"})

    assert pump.turn([A], first) == [b"one\n"]
    assert first.stopping_criteria[0](b"one\n") is False
    reads.requests["id-a"].stream(b"two\n")
    reads.finish("id-a", Reply(200, "application/x-ndjson", b"end\n"))
    # TorchServe sends no body for a stream that has begun.
    assert pump.turn([{}], last) == [b"two\nend\n"]
    assert last.stopping_criteria[0](b"two\nend\n") is True


def test_a_stream_that_fits_one_frame_is_an_ordinary_answer(pump, reads):
    pump.turn([A], FakeContext({0: "id-a"}))
    until(lambda: "id-a" in reads.requests)
    reads.requests["id-a"]._lines.append(b"one\n")  # without waking the pump
    reads.finish("id-a", Reply(200, "application/x-ndjson", b"end\n"))
    context = FakeContext({0: "id-a"})

    assert pump.turn([A], context) == [b"one\nend\n"]
    assert context.stopping_criteria is None


def test_a_stream_and_an_ordinary_answer_share_a_turn(pump, reads):
    both = {0: "id-a", 1: "id-b"}
    pump.turn([A, B], FakeContext(both))
    until(lambda: "id-a" in reads.requests)
    reads.requests["id-a"].stream(b"one\n")
    reads.finish("id-b")
    context = FakeContext(both)

    assert pump.turn([A, B], context) == [b"one\n", b"read"]
    assert context.stopping_criteria[0](b"") is False
    assert context.stopping_criteria[1](b"") is None


def test_an_error_after_a_stream_has_begun_is_its_last_line(pump, reads):
    pump.turn([A], FakeContext({0: "id-a"}))
    until(lambda: "id-a" in reads.requests)
    reads.requests["id-a"].stream(b"one\n")
    pump.turn([A], FakeContext({0: "id-a"}))
    reads.finish("id-a", RequestError("gone wrong"))
    context = FakeContext({0: "id-a"})

    [body] = pump.turn([{}], context)

    line = json.loads(body)
    assert (line["event"], line["detail"]) == ("error", "gone wrong")
    assert context.stopping_criteria[0](body) is True


def test_short_answers_are_sent_before_long_ones(make_pump, reads):
    pump = make_pump(max_reply_bytes=10 * MAX_FRAME_BYTES)
    ids = {0: "long", 1: "longer", 2: "short"}
    pump.turn([A, A, B], FakeContext(dict(ids)))
    for name, size in (("long", 1), ("longer", 2), ("short", 0)):
        body = bytes(size * MAX_FRAME_BYTES)
        reads.finish(name, Reply(200, "text/plain", body))

    first, second = FakeContext(dict(ids)), FakeContext({1: "longer"})
    pump.turn([A, A, B], first)
    pump.turn([A, A, B], second)

    assert set(first.request_ids) == {0, 2}
    assert set(second.request_ids) == {1}


def test_delayed_answer_goes_first_in_the_next_turn(make_pump, reads):
    pump = make_pump(max_reply_bytes=10 * MAX_FRAME_BYTES)
    ids = {0: "long", 1: "longer", 2: "late"}
    pump.turn([A, A, A], FakeContext(dict(ids)))
    reads.finish("long", Reply(200, "text/plain", bytes(MAX_FRAME_BYTES)))
    reads.finish("longer", Reply(200, "text/plain", bytes(2 * MAX_FRAME_BYTES)))
    pump.turn([A, A, A], FakeContext(dict(ids)))
    reads.finish("late", Reply(200, "text/plain", b"short"))
    context = FakeContext({1: "longer", 2: "late"})

    pump.turn([A, A, A], context)

    assert set(context.request_ids) == {1}


def test_a_long_stream_leaves_in_several_calls(make_pump, reads):
    pump = make_pump(max_reply_bytes=MAX_FRAME_BYTES)
    pump.turn([A], FakeContext({0: "id-a"}))
    until(lambda: "id-a" in reads.requests)
    line = bytes(MAX_FRAME_BYTES // 2)
    for _ in range(5):
        reads.requests["id-a"].stream(line)
    reads.finish("id-a", Reply(200, "application/x-ndjson", b"end"))

    sizes = [len(pump.turn([A], FakeContext({0: "id-a"}))[0]) for _ in range(3)]

    assert sizes == [2 * len(line), 2 * len(line), len(line) + len(b"end")]


@pytest.mark.parametrize("headers", [{}, {"Host": "x"}])
def test_only_answers_by_grpc_have_the_stream_header(pump, reads, headers):
    """TorchServe fails if the answer to a streamed gRPC call lacks the header."""
    pump.turn([A], FakeContext({0: "id-a"}, {0: headers}))
    reads.finish("id-a")
    context = FakeContext({0: "id-a"}, {0: headers})

    pump.turn([A], context)

    headers_sent = context.response_headers.get(0, {})
    assert headers_sent == ({} if headers else {"ts_stream_next": "false"})
