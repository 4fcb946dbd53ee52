"""An engine process that was there before its worker, and whom it ends with."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from handler.engine.process import early
from handler.engine.process.messages import Heartbeat, LoadFailed, Prepared
from handler.engine.process.process import start_engine_child
from handler.processes.child import Child
from handler.settings import EngineSettings
from handler.weights.source import MINI
from tests.waiting import until

SECONDS = 30


@pytest.fixture
def address(tmp_path):
    return str(tmp_path / "engine")


@pytest.fixture
def settings(address, tmp_path):
    """An engine that starts in no time, because it cannot load what is not there."""
    return EngineSettings(model_dir=str(tmp_path / "nothing"), early_engine=address)


@pytest.fixture
def start(address):
    """Starts a process as the server does, and notes how it ended."""
    children: list[Child] = []

    def start_it(settings: EngineSettings) -> Child:
        child = Child(early.main, address, settings)
        children.append(child)

        def listen() -> None:
            code = child.wait()
            early.ended_file(address).write_text(str(code))

        threading.Thread(target=listen, daemon=True).start()
        until(lambda: Path(address).exists(), SECONDS)
        return child

    yield start_it
    for child in children:
        child.kill()
        child.close()


def test_what_it_said_before_there_was_a_worker_is_not_lost(start, settings):
    child = start(settings)

    taken = early.take_over(settings.early_engine, settings)

    assert taken is not None
    assert taken.pid == child.pid
    message = taken.connection.recv()
    assert isinstance(message, LoadFailed)
    assert "nothing" in message.reason
    assert taken.describe_end() == "ended with status 0"


def test_a_worker_of_other_settings_starts_its_own(start, settings):
    child = start(settings)

    other = EngineSettings(model_dir="elsewhere", early_engine=settings.early_engine)

    assert early.take_over(settings.early_engine, other) is None
    assert child.wait() == 0


def test_where_nobody_waits_a_worker_starts_its_own(settings):
    assert early.take_over(settings.early_engine, settings) is None

    child = start_engine_child(settings, 0)

    assert isinstance(child, Child)
    child.kill()
    child.close()


def test_another_accelerators_engine_is_never_the_one_that_waits(start, settings):
    start(settings)

    child = start_engine_child(settings, 1)

    assert isinstance(child, Child)
    child.kill()
    child.close()


def test_it_ends_when_the_server_does_before_a_worker_came(start, settings):
    child = start(settings)

    child.connection.close()

    assert child.wait() == 0


def test_a_worker_hears_which_signal_ended_it(start, address):
    # It takes seconds to load.
    settings = EngineSettings(model_dir=str(MINI), early_engine=address)
    start(settings)
    taken = early.take_over(address, settings)
    assert taken is not None

    os.kill(taken.pid, signal.SIGKILL)

    assert taken.describe_end() == "was ended by SIGKILL"
    taken.kill()
    taken.close()


def test_messages_come_in_the_order_they_were_sent(address):
    settings = EngineSettings(early_engine=address)
    pipe = early.LatePipe(address, settings)
    for number in range(3):
        pipe.send(Prepared(number))

    taken = early.take_over(address, settings)

    assert taken is not None
    pipe.wait_until_taken()
    pipe.send(Prepared(3))
    received = [taken.connection.recv() for _ in range(4)]
    assert [message.num_accelerators for message in received] == [0, 1, 2, 3]
    taken.connection.send("a page")
    assert pipe.recv() == "a page"
    taken.connection.close()


def test_heartbeats_before_there_is_a_worker_are_dropped(address):
    settings = EngineSettings(early_engine=address)
    pipe = early.LatePipe(address, settings)
    pipe.send(Heartbeat(None))
    pipe.send(Prepared(1))

    taken = early.take_over(address, settings)

    assert taken is not None
    assert taken.connection.recv() == Prepared(1)
    pipe.wait_until_taken()
    pipe.send(Heartbeat(None))
    assert taken.connection.recv() == Heartbeat(None)
    taken.connection.close()
