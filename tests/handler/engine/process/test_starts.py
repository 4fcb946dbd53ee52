"""Failing starts, and processes that die in a check, with real processes and pipes."""

from __future__ import annotations

import errno
import logging
import signal
from collections.abc import Callable
from typing import Any

import pytest

from handler.engine import EngineProcesses
from handler.engine.device.model import check_free_memory, select_and_list_accelerators
from handler.engine.fallbacks import DeviceLostError, Fallback
from handler.engine.process.loop import main
from handler.engine.process.messages import LoadFailed, Pipe
from handler.engine.process.process import StartChild
from handler.engine.process.start import Load
from handler.errors import ModelLoadError
from handler.settings import EngineSettings
from tests.fakes import engine_request
from tests.handler.engine.device.cuda import FakeCuda
from tests.handler.engine.process.starting import (
    start_child_that_dies,
    start_child_that_fails,
    start_crashing_child,
    start_slow_child,
)

TOO_OLD = "The NVIDIA driver on your system is too old (accelerators version 12020)."
IN_USE = "CUDA error: CUDA-capable device(s) is/are busy or unavailable"


class RecordingPipe:
    """Engine process's end of a pipe, which collects the sent messages."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def send(self, message: Any) -> None:
        self.messages.append(message)

    def recv(self) -> Any:
        raise EOFError


def load_that_raises(error: Exception) -> Load:
    """Return a load function that raises `error` while it builds the engine."""

    def load(
        connection: Pipe,
        settings: EngineSettings,
        index: int,
        begin: Callable[[str], None],
    ) -> Any:
        begin("building the engine on cuda:0")
        raise error

    return load


class OutOfMemoryError(RuntimeError):
    """Error with the name of torch's out-of-memory error."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError(TOO_OLD), "update the NVIDIA driver"),
        (OutOfMemoryError("CUDA out of memory."), "lower kv_cache_tokens"),
        (
            RuntimeError("CUDA error: operation not permitted when capturing"),
            "CHANDRA_ENGINE=generate",
        ),
        (ImportError("libcuda.so.1: cannot open shared object"), "NVIDIA driver"),
        (OSError(errno.ENOSPC, "No space left on device"), "CHANDRA_CACHE_DIR"),
        (KeyError("layers"), "`start failed`"),
    ],
)
def test_failure_before_ready_is_sent_with_a_remedy(error, words, caplog):
    pipe = RecordingPipe()

    main(pipe, EngineSettings(), 0, load=load_that_raises(error))

    [message] = pipe.messages
    assert isinstance(message, LoadFailed)
    assert message.reason.startswith("building the engine on cuda:0 failed: ")
    assert words in message.reason.partition("Remedy: ")[2]
    [line] = [line for line in caplog.records if line.message == "start failed"]
    assert vars(line)["stage"] == "building the engine on cuda:0"
    assert line.exc_info


def test_model_load_error_is_logged_without_traceback(caplog):
    pipe = RecordingPipe()
    error = ModelLoadError("MODEL_DIR is /x, which holds no config.json")

    main(pipe, EngineSettings(), 0, load=load_that_raises(error))

    assert pipe.messages == [LoadFailed(error.detail)]
    assert not any(line.exc_info for line in caplog.records)


def test_process_that_lost_its_device_exits():
    pipe = RecordingPipe()
    statuses: list[int] = []

    main(
        pipe,
        EngineSettings(),
        0,
        load=load_that_raises(DeviceLostError("after cuda_graphs")),
        exit_process=statuses.append,
    )

    assert statuses == [1]
    assert pipe.messages == []


@pytest.fixture
def start():
    """Return a function that starts engine processes, which are closed at the end."""
    started: list[EngineProcesses] = []

    def start_engines(start_child: StartChild, **settings: Any) -> EngineProcesses:
        engines = EngineProcesses(
            EngineSettings(**settings),
            start_child=start_child,
            sleep=lambda seconds: None,
        )
        started.append(engines)
        engines.start()
        return engines

    yield start_engines
    for engines in started:
        engines.close()


def test_failed_start_reaches_the_worker_with_a_remedy(start):
    with pytest.raises(ModelLoadError, match=r"too old.*Remedy: update the NVIDIA"):
        start(start_child_that_fails, model_id=TOO_OLD)


@pytest.mark.parametrize(("reason", "num_starts"), [(TOO_OLD, 1), (IN_USE, 3)])
def test_first_start_is_repeated_after_transient_failure(start, reason, num_starts):
    starts: list[int] = []

    def count_start(settings: EngineSettings, index: int):
        starts.append(index)
        return start_child_that_fails(settings, index)

    with pytest.raises(ModelLoadError, match="Remedy"):
        start(count_start, model_id=reason)

    assert len(starts) == num_starts


def test_start_after_a_transient_failure_succeeds(start):
    starts: list[int] = []

    def fail_first(settings: EngineSettings, index: int):
        starts.append(index)
        if len(starts) == 1:
            return start_child_that_fails(settings, index)
        healthy = EngineSettings(model_id="largest_image", engine="generate")
        return start_child_that_dies(healthy, index)

    engines = start(fail_first, model_id=IN_USE)

    assert engines.submit(engine_request("a/1", "say hello")).result(10).text == "hello"


@pytest.mark.parametrize(
    ("check", "revision", "fallback", "attention", "cuda_graphs"),
    [
        ("cuda_graphs", None, Fallback.CUDA_GRAPHS_FAILED, "flash", False),
        ("cuda_graphs", "lost", Fallback.CUDA_GRAPHS_FAILED, "flash", False),
        ("attention", None, Fallback.ATTENTION_FAILED, "torch", False),
        ("largest_image", None, Fallback.ATTENTION_FAILED, "torch", False),
    ],
)
def test_death_in_a_check_disables_its_optimisation(
    start, caplog, check, revision, fallback, attention, cuda_graphs
):
    caplog.set_level(logging.INFO, "handler.engine.process.process")

    # A death during a check does not count as a failed start.
    engines = start(
        start_child_that_dies,
        model_id=check,
        model_revision=revision,
        max_failed_starts=1,
    )

    assert engines.fallbacks == (fallback,)
    info = engines.info
    assert (info.attention, info.cuda_graphs) == (attention, cuda_graphs)
    assert engines.submit(engine_request("a/1", "say hello")).result(10).text == "hello"
    [line] = [line for line in caplog.records if line.message == "self-test failed"]
    assert vars(line)["check"] == check
    assert vars(line)["fallback"] == fallback


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, r"ended by SIGKILL.*Remedy: the kernel.*no memory left"),
        (signal.SIGSEGV, r"ended by SIGSEGV.*Remedy: .*CHANDRA_ENGINE=generate"),
    ],
)
def test_death_before_ready_is_reported_with_a_remedy(start, number, words):
    with pytest.raises(ModelLoadError, match=words):
        start(start_crashing_child, model_id=str(int(number)))


def test_device_lost_outside_of_a_check_has_a_remedy(start):
    with pytest.raises(ModelLoadError, match=r"status 1\. Remedy: .*Xid"):
        start(start_child_that_dies, model_id="no check")


def test_timeout_in_a_check_is_not_blamed_on_the_check(start):
    starts: list[EngineSettings] = []

    def count_start(settings: EngineSettings, index: int):
        starts.append(settings)
        return start_slow_child(settings, index)

    with pytest.raises(ModelLoadError, match=r"not ready after 0.2 s\. Remedy"):
        start(count_start, load_seconds=0.2)

    assert [settings.cuda_graphs for settings in starts] == [True]


def test_device_is_set_before_other_cuda_calls():
    cuda = FakeCuda(num_devices=2)

    accelerators = select_and_list_accelerators(1, cuda)

    assert len(accelerators) == 2
    assert cuda.calls[0] == ("set_device", 1)
    assert {device for _, device in cuda.calls} == {1}


def test_no_device_is_set_without_devices():
    cuda = FakeCuda(num_devices=0)

    assert select_and_list_accelerators(0, cuda) == []
    assert cuda.calls == []


def test_memory_of_other_processes_is_a_transient_failure():
    with pytest.raises(ModelLoadError, match="other processes") as raised:
        check_free_memory("cuda:0", 100 * 1024**3, FakeCuda())

    assert raised.value.is_transient


def test_weights_that_fit_pass_the_memory_check():
    check_free_memory("cuda:0", 18 * 1024**3, FakeCuda())
    check_free_memory("cpu", 18 * 1024**3, FakeCuda())
