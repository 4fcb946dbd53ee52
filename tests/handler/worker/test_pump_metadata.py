"""Requests for the model's metadata beside documents."""

from __future__ import annotations

from tests.fakes import FakeContext
from tests.handler.worker.reads import UNANSWERED, A
from tests.waiting import until


def describe(request_id: str = "id-d", index: int = 0, **others: str) -> FakeContext:
    return FakeContext(
        {index: request_id} | {int(key[1:]): name for key, name in others.items()},
        {index: {"Host": "x", "describe": "True"}},
    )


def test_a_request_for_metadata_is_answered_and_not_reported(make_pump, reports):
    pump = make_pump(description=b'{"model_id": "m"}')
    context = describe()

    [body] = pump.turn([{}], context)

    assert body == b'{"model_id": "m"}'
    assert context.statuses == {0: 200}
    assert pump.num_open == 0
    assert not pump.is_stuck
    assert reports == []


def test_a_repeated_request_for_metadata_has_no_second_answer(pump):
    pump.turn([{}], describe())
    again = describe()

    assert pump.turn([{}], again) == [UNANSWERED]

    assert again.request_ids == {}
    assert again.statuses == {}
    # The request keeps all documents behind it in TorchServe's queue.
    assert pump.is_stuck


def test_two_requests_for_metadata_have_one_answer_each(pump):
    for name in ("id-d", "id-e"):
        pump.turn([{}], describe(name))

    for name in ("id-d", "id-e"):
        again = describe(name)
        assert pump.turn([{}], again) == [UNANSWERED]
        assert again.request_ids == {}


def test_documents_are_answered_beside_a_request_for_metadata(pump, reads):
    pump.turn([A, {}], describe(index=1, _0="id-a"))
    reads.finish("id-a")
    context = describe(index=1, _0="id-a")

    bodies = pump.turn([A, {}], context)

    assert bodies == [b"read", UNANSWERED]
    assert context.request_ids == {0: "id-a"}


def test_a_stream_goes_on_beside_a_request_for_metadata(pump, reads):
    pump.turn([A], FakeContext({0: "id-a"}))
    until(lambda: "id-a" in reads.requests)
    reads.requests["id-a"].stream(b"line\n")
    context = describe(index=1, _0="id-a")

    assert pump.turn([A, {}], context) == [b"line\n", b"{}"]

    assert [context.stopping_criteria[i](b"") for i in (0, 1)] == [False, None]


def test_documents_after_metadata_do_not_make_the_pump_stuck(pump):
    pump.turn([{}], describe())
    pump.turn([{}], describe())

    pump.turn([A], FakeContext({0: "id-a"}))

    assert not pump.is_stuck


def test_a_document_with_the_header_of_metadata_is_read(pump, reads):
    headers = {"Host": "x", "describe": "True"}
    pump.turn([A], FakeContext({0: "id-a"}, {0: headers}))

    until(lambda: "id-a" in reads.requests)
