"""Engine process that is started before its worker and ends with it."""

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
    """Settings of an engine that fails to load at once: its folder does not exist."""
    return EngineSettings(model_dir=str(tmp_path / "nothing"), early_engine=address)


@pytest.fixture
def start(address):
    """Return a function that starts a process as the server does.

    The exit status is written to the file that the server would write.
    """
    children: list[Child] = []

    def start_early(settings: EngineSettings) -> Child:
        child = Child(early.main, address, settings)
        children.append(child)

        def record_exit_status() -> None:
            code = child.wait()
            early.exit_status_path(address).write_text(str(code))

        threading.Thread(target=record_exit_status, daemon=True).start()
        until(lambda: Path(address).exists(), SECONDS)
        return child

    yield start_early
    for child in children:
        child.kill()
        child.close()


def test_messages_before_the_take_over_are_kept(start, settings):
    child = start(settings)

    taken = early.take_over(settings.early_engine, settings)

    assert taken is not None
    assert taken.pid == child.pid
    message = taken.connection.recv()
    assert isinstance(message, LoadFailed)
    assert "nothing" in message.reason
    assert taken.describe_end() == "ended with status 0"


def test_worker_with_other_settings_takes_nothing_over(start, settings):
    child = start(settings)

    other = EngineSettings(model_dir="elsewhere", early_engine=settings.early_engine)

    assert early.take_over(settings.early_engine, other) is None
    assert child.wait() == 0


def test_worker_starts_a_process_if_none_waits(settings):
    assert early.take_over(settings.early_engine, settings) is None

    child = start_engine_child(settings, 0)

    assert isinstance(child, Child)
    child.kill()
    child.close()


def test_only_accelerator_0_takes_the_early_process_over(start, settings):
    start(settings)

    child = start_engine_child(settings, 1)

    assert isinstance(child, Child)
    child.kill()
    child.close()


def test_early_process_ends_when_the_server_ends(start, settings):
    child = start(settings)

    child.connection.close()

    assert child.wait() == 0


def test_worker_learns_which_signal_ended_the_process(start, address):
    # Loading mini takes seconds, so the process is still running when it is killed.
    settings = EngineSettings(model_dir=str(MINI), early_engine=address)
    start(settings)
    taken = early.take_over(address, settings)
    assert taken is not None

    os.kill(taken.pid, signal.SIGKILL)

    assert taken.describe_end() == "was ended by SIGKILL"
    taken.kill()
    taken.close()


def test_messages_keep_their_order(address):
    settings = EngineSettings(early_engine=address)
    pipe = early.BufferedPipe(address, settings)
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


def test_heartbeats_before_the_take_over_are_dropped(address):
    settings = EngineSettings(early_engine=address)
    pipe = early.BufferedPipe(address, settings)
    pipe.send(Heartbeat(None))
    pipe.send(Prepared(1))

    taken = early.take_over(address, settings)

    assert taken is not None
    assert taken.connection.recv() == Prepared(1)
    pipe.wait_until_taken()
    pipe.send(Heartbeat(None))
    assert taken.connection.recv() == Heartbeat(None)
    taken.connection.close()
