"""Streamed answers, and long answers that are returned in several calls."""

from __future__ import annotations

import json

import pytest

from handler.errors import RequestError
from handler.http.reply import Reply
from handler.worker.pump import MAX_FRAME_BYTES
from tests.fakes import FakeContext
from tests.handler.worker.manual_reader import ROW_A, ROW_B


def test_stream_is_sent_in_frames_until_the_last(pump, reader):
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.wait_for("id-a")
    reader.requests["id-a"].stream(b"one\n")
    first, last = FakeContext({0: "id-a"}), FakeContext({0: "id-a"})

    assert pump.serve_call([ROW_A], first) == [b"one\n"]
    assert first.stopping_criteria[0](b"one\n") is False
    reader.requests["id-a"].stream(b"two\n")
    reader.finish("id-a", Reply(200, "application/x-ndjson", b"end\n"))
    # TorchServe sends no body for a stream that has begun.
    assert pump.serve_call([{}], last) == [b"two\nend\n"]
    assert last.stopping_criteria[0](b"two\nend\n") is True


def test_a_stream_in_one_frame_is_a_complete_answer(pump, reader):
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.wait_for("id-a")
    reader.requests["id-a"]._lines.append(b"one\n")  # without waking the pump
    reader.finish("id-a", Reply(200, "application/x-ndjson", b"end\n"))
    context = FakeContext({0: "id-a"})

    assert pump.serve_call([ROW_A], context) == [b"one\nend\n"]
    assert context.stopping_criteria is None


def test_a_call_returns_a_stream_and_a_complete_answer(pump, reader):
    ids = {0: "id-a", 1: "id-b"}
    pump.serve_call([ROW_A, ROW_B], FakeContext(ids))
    reader.wait_for("id-a")
    reader.requests["id-a"].stream(b"one\n")
    reader.finish("id-b")
    context = FakeContext(ids)

    assert pump.serve_call([ROW_A, ROW_B], context) == [b"one\n", b"read"]
    assert context.stopping_criteria[0](b"") is False
    assert context.stopping_criteria[1](b"") is None


def test_an_error_in_a_stream_is_its_last_line(pump, reader):
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.wait_for("id-a")
    reader.requests["id-a"].stream(b"one\n")
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.finish("id-a", RequestError("gone wrong"))
    context = FakeContext({0: "id-a"})

    [body] = pump.serve_call([{}], context)

    line = json.loads(body)
    assert (line["event"], line["detail"]) == ("error", "gone wrong")
    assert context.stopping_criteria[0](body) is True


def test_short_answers_are_sent_before_long_ones(make_pump, reader):
    pump = make_pump(max_reply_bytes=10 * MAX_FRAME_BYTES)
    ids = {0: "long", 1: "longer", 2: "short"}
    pump.serve_call([ROW_A, ROW_A, ROW_B], FakeContext(dict(ids)))
    for name, size in (("long", 1), ("longer", 2), ("short", 0)):
        body = bytes(size * MAX_FRAME_BYTES)
        reader.finish(name, Reply(200, "text/plain", body))

    first, second = FakeContext(dict(ids)), FakeContext({1: "longer"})
    pump.serve_call([ROW_A, ROW_A, ROW_B], first)
    pump.serve_call([ROW_A, ROW_A, ROW_B], second)

    assert set(first.request_ids) == {0, 2}
    assert set(second.request_ids) == {1}


def test_delayed_answer_goes_first_in_the_next_call(make_pump, reader):
    pump = make_pump(max_reply_bytes=10 * MAX_FRAME_BYTES)
    ids = {0: "long", 1: "longer", 2: "late"}
    pump.serve_call([ROW_A, ROW_A, ROW_A], FakeContext(dict(ids)))
    reader.finish("long", Reply(200, "text/plain", bytes(MAX_FRAME_BYTES)))
    reader.finish("longer", Reply(200, "text/plain", bytes(2 * MAX_FRAME_BYTES)))
    pump.serve_call([ROW_A, ROW_A, ROW_A], FakeContext(dict(ids)))
    reader.finish("late", Reply(200, "text/plain", b"short"))
    context = FakeContext({1: "longer", 2: "late"})

    pump.serve_call([ROW_A, ROW_A, ROW_A], context)

    assert set(context.request_ids) == {1}


def test_a_long_stream_is_returned_in_several_calls(make_pump, reader):
    pump = make_pump(max_reply_bytes=MAX_FRAME_BYTES)
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.wait_for("id-a")
    line = bytes(MAX_FRAME_BYTES // 2)
    for _ in range(5):
        reader.requests["id-a"].stream(line)
    reader.finish("id-a", Reply(200, "application/x-ndjson", b"end"))

    sizes = [
        len(pump.serve_call([ROW_A], FakeContext({0: "id-a"}))[0]) for _ in range(3)
    ]

    assert sizes == [2 * len(line), 2 * len(line), len(line) + len(b"end")]


@pytest.mark.parametrize(
    ("request_headers", "answer_headers"),
    [({}, {"ts_stream_next": "false"}), ({"Host": "x"}, {})],
    ids=["grpc", "http"],
)
def test_only_answers_by_grpc_have_the_stream_header(
    pump, reader, request_headers, answer_headers
):
    """TorchServe fails if the answer to a streamed gRPC call lacks the header."""
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}, {0: request_headers}))
    reader.finish("id-a")
    context = FakeContext({0: "id-a"}, {0: request_headers})

    pump.serve_call([ROW_A], context)

    assert context.response_headers.get(0, {}) == answer_headers
