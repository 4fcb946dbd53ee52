"""Requests for the model's metadata, alone and together with documents."""

from __future__ import annotations

from tests.fakes import FakeContext
from tests.handler.worker.manual_reader import ROW_A, UNANSWERED


def metadata_context(
    request_id: str = "id-d", index: int = 0, documents: dict[int, str] | None = None
) -> FakeContext:
    """Return the context of a call with a request for metadata at `index`.

    `documents` are the ids of other requests by their index.
    """
    return FakeContext(
        {index: request_id} | (documents or {}),
        {index: {"Host": "x", "describe": "True"}},
    )


def test_a_request_for_metadata_is_answered_and_not_reported(make_pump, reports):
    pump = make_pump(description=b'{"model_id": "m"}')
    context = metadata_context()

    [body] = pump.serve_call([{}], context)

    assert body == b'{"model_id": "m"}'
    assert context.statuses == {0: 200}
    assert pump.num_open == 0
    assert not pump.is_stuck
    assert reports == []


def test_a_repeated_request_for_metadata_has_no_second_answer(pump):
    pump.serve_call([{}], metadata_context())
    repeated = metadata_context()

    assert pump.serve_call([{}], repeated) == [UNANSWERED]

    assert repeated.request_ids == {}
    assert repeated.statuses == {}
    # The request keeps all documents behind it in TorchServe's queue.
    assert pump.is_stuck


def test_two_requests_for_metadata_have_one_answer_each(pump):
    for name in ("id-d", "id-e"):
        pump.serve_call([{}], metadata_context(name))

    for name in ("id-d", "id-e"):
        repeated = metadata_context(name)
        assert pump.serve_call([{}], repeated) == [UNANSWERED]
        assert repeated.request_ids == {}


def test_documents_are_answered_with_a_request_for_metadata(pump, reader):
    pump.serve_call([ROW_A, {}], metadata_context(index=1, documents={0: "id-a"}))
    reader.finish("id-a")
    context = metadata_context(index=1, documents={0: "id-a"})

    bodies = pump.serve_call([ROW_A, {}], context)

    assert bodies == [b"read", UNANSWERED]
    assert context.request_ids == {0: "id-a"}


def test_a_stream_continues_with_a_request_for_metadata(pump, reader):
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))
    reader.wait_for("id-a")
    reader.requests["id-a"].stream(b"line\n")
    context = metadata_context(index=1, documents={0: "id-a"})

    assert pump.serve_call([ROW_A, {}], context) == [b"line\n", b"{}"]

    assert [context.stopping_criteria[i](b"") for i in (0, 1)] == [False, None]


def test_pump_is_not_stuck_after_metadata_if_documents_come(pump):
    pump.serve_call([{}], metadata_context())
    pump.serve_call([{}], metadata_context())

    pump.serve_call([ROW_A], FakeContext({0: "id-a"}))

    assert not pump.is_stuck


def test_a_document_with_the_metadata_header_is_read(pump, reader):
    headers = {"Host": "x", "describe": "True"}
    pump.serve_call([ROW_A], FakeContext({0: "id-a"}, {0: headers}))

    reader.wait_for("id-a")
