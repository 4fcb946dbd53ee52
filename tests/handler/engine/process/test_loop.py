"""Messages to an engine and its results, in the main loop of an engine process."""

from __future__ import annotations

import threading
from multiprocessing import Pipe

import pytest

from handler.engine.engine import Engine
from handler.engine.process.loop import PROGRESS_SECONDS, Loop
from handler.engine.process.messages import (
    Cancel,
    Ended,
    FromEngine,
    Heartbeat,
    PageProgress,
    Submit,
)
from handler.engine.request import EngineOutput, FinishReason
from handler.engine.steps import RunningStep, StepKind
from tests.fakes import ScriptedEngine, engine_request
from tests.handler.engine.clock import Clock
from tests.waiting import until

SECONDS = 20.0
"""Time limit of every wait in these tests."""


class Worker:
    """Worker's end of the pipe, which sends pages and receives messages."""

    def __init__(self, engine: Engine, clock) -> None:
        self.connection, engine_end = Pipe()
        self.statuses: list[int] = []
        self.has_exited = threading.Event()
        self.error: BaseException | None = None
        self._loop = Loop(
            engine, engine_end, clock, self._record_exit, beat_seconds=0.02
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def send(self, message: Submit | Cancel) -> None:
        self.connection.send(message)

    def receive(self) -> FromEngine:
        """Return the next message that is not a heartbeat."""
        while isinstance(message := self.receive_any(), Heartbeat):
            pass
        return message

    def receive_any(self) -> FromEngine:
        assert self.connection.poll(SECONDS), "the loop sent no message"
        message: FromEngine = self.connection.recv()
        return message

    def wait_until_read(self, engine_request_id: str, clock: Clock) -> None:
        """Wait until the engine reads this page."""
        while True:
            clock.now += PROGRESS_SECONDS
            message = self.receive()
            assert isinstance(message, PageProgress)
            if engine_request_id in message.num_output_tokens:
                return

    def receive_output(self) -> EngineOutput:
        """Return the next result of a page, and skip other messages."""
        while True:
            message = self.receive()
            if isinstance(message, Ended):
                return message.output

    def join(self) -> None:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._loop.run()
        except RuntimeError as error:
            self.error = error

    def _record_exit(self, status: int) -> None:
        self.statuses.append(status)
        self.has_exited.set()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def worker(clock):
    worker = Worker(ScriptedEngine(), clock)
    yield worker
    # Only an exception of the engine ends the loop.
    if not worker.connection.closed and worker.error is None:
        worker.send(Submit(engine_request("z/1", "raise the end")))
        worker.join()
    worker.connection.close()
    assert worker.has_exited.wait(SECONDS)


def test_submitted_page_has_a_result(worker):
    worker.send(Submit(engine_request("a/1", "say hello")))

    output = worker.receive_output()

    assert output.engine_request_id == "a/1"
    assert output.text == "hello"


def test_pages_end_in_the_order_of_submission(worker):
    for number in range(5):
        worker.send(Submit(engine_request(f"a/{number}", f"say {number}")))

    assert [worker.receive_output().text for _ in range(5)] == list("01234")


def test_running_page_can_be_cancelled(worker, clock):
    worker.send(Submit(engine_request("a/1", "wait 600")))
    worker.wait_until_read("a/1", clock)

    worker.send(Cancel("a/1"))

    assert worker.receive_output().finish_reason is FinishReason.ABORTED


def test_page_cancelled_before_its_turn_is_never_read(worker, clock):
    worker.send(Submit(engine_request("a/1", "wait 600")))
    worker.wait_until_read("a/1", clock)
    worker.send(Submit(engine_request("a/2", "raise never read")))
    worker.send(Cancel("a/2"))
    worker.send(Cancel("a/1"))
    worker.send(Submit(engine_request("a/3", "say third")))

    ended = {
        output.engine_request_id: output
        for output in (worker.receive_output() for _ in range(3))
    }
    assert ended.keys() == {"a/1", "a/2", "a/3"}
    assert ended["a/2"].finish_reason is FinishReason.ABORTED
    assert ended["a/3"].text == "third"


def test_cancel_of_an_unknown_page_is_ignored(worker):
    worker.send(Cancel("a/1"))
    worker.send(Submit(engine_request("b/1", "say hello")))

    assert worker.receive_output().text == "hello"


def test_progress_is_sent_after_its_interval(worker, clock):
    worker.send(Submit(engine_request("a/1", "wait 600")))
    clock.now += PROGRESS_SECONDS

    message = worker.receive()

    assert isinstance(message, PageProgress)
    assert set(message.num_output_tokens) <= {"a/1"}
    worker.send(Cancel("a/1"))


def test_no_progress_is_sent_before_its_interval(worker, clock):
    clock.now += PROGRESS_SECONDS * 0.9

    worker.send(Submit(engine_request("a/1", "wait 0.1")))

    assert isinstance(worker.receive(), Ended)


def test_idle_engine_sends_only_heartbeats(worker, clock):
    worker.send(Submit(engine_request("a/1", "say hello")))
    worker.receive_output()

    clock.now += 600

    # The first message may have been created before the engine was idle.
    _, *others = [worker.receive_any() for _ in range(4)]
    assert others == [Heartbeat(None)] * 3


def test_heartbeats_name_the_running_step(clock):
    engine = BusyEngine()
    worker = Worker(engine, clock)
    worker.send(Submit(engine_request("a/1", "say hello")))
    assert engine.is_stepping.wait(SECONDS)

    step = until(lambda: _step_of(worker.receive_any(), StepKind.PREFILL))

    assert step is not None
    assert step.size == 700
    engine.may_end.set()
    worker.join()
    worker.connection.close()
    assert worker.has_exited.wait(SECONDS)


def _step_of(message: FromEngine, kind: StepKind) -> RunningStep | None:
    """Return the step in a heartbeat if it is of this kind, else None."""
    step = message.step if isinstance(message, Heartbeat) else None
    return step if step is not None and step.kind is kind else None


def test_process_ends_when_its_pipe_closes(worker):
    worker.send(Submit(engine_request("a/1", "say hello")))
    worker.receive_output()
    worker.send(Submit(engine_request("a/2", "raise the end")))
    worker.join()

    worker.connection.close()

    assert worker.has_exited.wait(SECONDS)
    assert worker.statuses == [0]


class BusyEngine(ScriptedEngine):
    """Engine whose step lasts until the test allows it to end."""

    def __init__(self) -> None:
        super().__init__()
        self.is_stepping = threading.Event()
        self.may_end = threading.Event()

    def step(self, poll) -> list[EngineOutput]:
        self.steps.start(StepKind.PREFILL, 700)
        self.is_stepping.set()
        assert self.may_end.wait(SECONDS)
        raise RuntimeError("the end")


def test_closed_pipe_ends_the_process_during_a_step(clock):
    engine = BusyEngine()
    worker = Worker(engine, clock)
    worker.send(Submit(engine_request("a/1", "say hello")))
    assert engine.is_stepping.wait(SECONDS)

    worker.connection.close()

    assert worker.has_exited.wait(SECONDS)
    engine.may_end.set()
    worker.join()


def test_exception_of_the_engine_ends_the_loop(worker):
    worker.send(Submit(engine_request("a/1", "raise CUDA error")))

    worker.join()

    assert str(worker.error) == "CUDA error"


class CountingEngine(ScriptedEngine):
    """Engine that counts its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.num_steps = 0

    def step(self, poll) -> list[EngineOutput]:
        self.num_steps += 1
        return super().step(poll)


def test_engine_without_work_runs_no_step(clock):
    engine = CountingEngine()
    worker = Worker(engine, clock)
    worker.send(Submit(engine_request("a/1", "say hello")))
    worker.receive_output()

    worker.send(Submit(engine_request("a/2", "raise the end")))
    worker.join()

    assert engine.num_steps == 2
    worker.connection.close()
    assert worker.has_exited.wait(SECONDS)
