"""Real child processes that fail or die before their engine is ready."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NoReturn

from handler.engine.engine import Engine, EngineInfo
from handler.engine.fallbacks import Check, DeviceLostError, Fallback
from handler.engine.process import loop
from handler.engine.process.messages import Checking, Pipe, Prepared
from handler.processes.child import Child
from handler.settings import EngineSettings
from tests.fakes import ScriptedEngine

__all__ = [
    "load_scripted",
    "start_child_that_dies",
    "start_child_that_fails",
    "start_crashing_child",
    "start_scripted_gpu",
    "start_slow_child",
]


def load_scripted(
    connection: Pipe,
    settings: EngineSettings,
    index: int,
    begin: Callable[[str], None],
    fallbacks: tuple[Fallback, ...] = (),
) -> tuple[Engine, EngineInfo]:
    """Return a scripted engine, described according to its settings."""
    connection.send(Prepared(1))
    info = EngineInfo(
        model_id="scripted",
        revision=None,
        profile="mini",
        engine="generate" if settings.engine == "generate" else "native",
        device=f"fake:{index}",
        max_pages_in_flight=1,
        attention="torch" if settings.attention == "torch" else "flash",
        cuda_graphs=settings.cuda_graphs and settings.attention == "auto",
        fallbacks=fallbacks,
    )
    return ScriptedEngine(), info


def _load_until_check(
    connection: Pipe,
    settings: EngineSettings,
    index: int,
    begin: Callable[[str], None],
) -> tuple[Engine, EngineInfo]:
    """Die in the check that `model_id` names if its optimisation is in use.

    `no check` loses the device outside of a check.
    """
    if settings.model_id == "no check":
        connection.send(Checking(None))
        raise DeviceLostError("after the start")
    check = Check(settings.model_id or "")
    uses_it = settings.engine != "generate" and (
        settings.cuda_graphs
        if check is Check.CUDA_GRAPHS
        else settings.attention == "auto"
    )
    if uses_it:
        connection.send(Prepared(1))
        connection.send(Checking(Check.ATTENTION))
        connection.send(Checking(None))
        connection.send(Checking(check))
        if settings.model_revision == "lost":
            raise DeviceLostError(f"after {check}")
        os.kill(os.getpid(), signal.SIGKILL)
    return load_scripted(connection, settings, index, begin)


def _run_until_check(
    connection: Connection, settings: EngineSettings, index: int
) -> None:
    loop.main(connection, settings, index, load=_load_until_check)


def start_child_that_dies(settings: EngineSettings, index: int) -> Child:
    """Start a process that dies as `model_id` says; see `_load_until_check`."""
    return Child(_run_until_check, settings, index)


def _fail_to_load(
    connection: Pipe,
    settings: EngineSettings,
    index: int,
    begin: Callable[[str], None],
) -> NoReturn:
    begin("initialising CUDA")
    raise RuntimeError(settings.model_id)


def _run_failing(connection: Connection, settings: EngineSettings, index: int) -> None:
    loop.main(connection, settings, index, load=_fail_to_load)


def start_child_that_fails(settings: EngineSettings, index: int) -> Child:
    """Start a process whose load raises RuntimeError with `model_id` as its text."""
    return Child(_run_failing, settings, index)


def _run_scripted(connection: Connection, settings: EngineSettings, index: int) -> None:
    loop.main(connection, settings, index, load=load_scripted)


def start_scripted_gpu(settings: EngineSettings, index: int) -> Child:
    """Start a process that reports the GPU optimisations that its settings allow."""
    return Child(_run_scripted, settings, index)


def _load_slowly(
    connection: Pipe,
    settings: EngineSettings,
    index: int,
    begin: Callable[[str], None],
) -> NoReturn:
    connection.send(Prepared(1))
    connection.send(Checking(Check.CUDA_GRAPHS))
    time.sleep(600)
    raise AssertionError("the process was not ended")


def _run_slow(connection: Connection, settings: EngineSettings, index: int) -> None:
    loop.main(connection, settings, index, load=_load_slowly)


def start_slow_child(settings: EngineSettings, index: int) -> Child:
    """Start a process that is still in a check when `load_seconds` elapse."""
    return Child(_run_slow, settings, index)


def _run_crashing(connection: Connection, settings: EngineSettings, index: int) -> None:
    connection.send(Prepared(1))
    os.kill(os.getpid(), int(settings.model_id or 0))


def start_crashing_child(settings: EngineSettings, index: int) -> Child:
    """Start a process that dies by the signal `model_id` before it is ready."""
    return Child(_run_crashing, settings, index)
