"""Optimisations that an engine on an accelerator loses after repeated deaths."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

import pytest

from handler.engine import EngineProcesses
from handler.engine.engine import EngineInfo
from handler.engine.fallbacks import Fallback
from handler.engine.process.degradation import WINDOW_SECONDS, Degradation
from handler.settings import EngineSettings
from tests.fakes import engine_request
from tests.handler.engine.clock import Clock
from tests.handler.engine.process.starting import start_scripted_gpu
from tests.waiting import until

CRASHED = Fallback.CUDA_GRAPHS_CRASHED


def info_of(settings: EngineSettings, device: str = "cuda:0") -> EngineInfo:
    """Return what a process with these settings reports when it is ready."""
    is_fast = device != "cpu" and settings.attention == "auto"
    return EngineInfo(
        model_id="scripted",
        revision=None,
        profile="mini",
        engine="native",
        device=device,
        max_pages_in_flight=1,
        attention="flash" if is_fast else "torch",
        cuda_graphs=is_fast and settings.cuda_graphs,
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def record_deaths(clock) -> Callable[..., Degradation]:
    """Return a function that records deaths of ready processes.

    Each argument is the time in seconds since the death before.
    """

    def record_deaths_after(*gaps: float, device: str = "cuda:0") -> Degradation:
        degradation = Degradation(EngineSettings(), 0, clock)
        for gap in gaps:
            clock.now += gap
            info = info_of(degradation.settings, device)
            degradation.record_death(info, "was ended by SIGSEGV")
        return degradation

    return record_deaths_after


def list_settings(degradation: Degradation) -> tuple[bool, str]:
    return degradation.settings.cuda_graphs, degradation.settings.attention


def test_one_death_keeps_all_optimisations(record_deaths):
    assert list_settings(record_deaths(0)) == (True, "auto")


def test_two_deaths_keep_all_optimisations(record_deaths):
    """A page that kills its engine causes two deaths before it fails."""
    assert list_settings(record_deaths(0, 100)) == (True, "auto")


def test_three_deaths_disable_cuda_graphs(record_deaths):
    degradation = record_deaths(0, 100, WINDOW_SECONDS - 100)

    assert list_settings(degradation) == (False, "auto")
    assert degradation.fallbacks == (CRASHED,)


def test_fourth_death_disables_the_operator(record_deaths):
    degradation = record_deaths(0, 100, 100, 100)

    assert list_settings(degradation) == (False, "torch")
    assert degradation.fallbacks == (CRASHED, Fallback.ATTENTION_CRASHED)


def test_deaths_far_apart_keep_all_optimisations(record_deaths):
    assert list_settings(record_deaths(*[WINDOW_SECONDS + 1] * 5)) == (True, "auto")


def test_late_fourth_death_keeps_the_operator(record_deaths):
    assert list_settings(record_deaths(0, 100, 100, WINDOW_SECONDS + 1)) == (
        False,
        "auto",
    )


def test_deaths_on_a_cpu_keep_all_optimisations(record_deaths):
    assert list_settings(record_deaths(*[1] * 5, device="cpu")) == (True, "auto")


def wait_for_fallback(engines: EngineProcesses, fallback: Fallback) -> None:
    until(lambda: fallback in engines.fallbacks)


def test_deaths_change_the_next_start_but_no_page(caplog):
    caplog.set_level(logging.INFO, "handler.engine.process.degradation")
    engines = EngineProcesses(
        EngineSettings(), start_child=start_scripted_gpu, sleep=lambda seconds: None
    )
    try:
        engines.start()
        deadly = engines.submit(engine_request("a/1", "die"))
        after = [engines.submit(engine_request(f"b/{n}", "say fine")) for n in range(3)]

        error = deadly.result(30).error
        assert error is not None
        assert error.code == "engine_failed"
        assert deadly.result().num_attempts == 2
        assert [page.result(30).text for page in after] == ["fine"] * 3
        assert engines.fallbacks == ()
        assert (engines.info.attention, engines.info.cuda_graphs) == ("flash", True)

        # The second death, when the page ran alone, did not count.
        for fallback in (None, CRASHED, Fallback.ATTENTION_CRASHED):
            [pid] = engines.pids
            os.kill(pid, signal.SIGKILL)
            if fallback is not None:
                wait_for_fallback(engines, fallback)
            again = engines.submit(engine_request(f"c/{fallback}", "say hello")).result(
                30
            )
            assert again.text == "hello"
    finally:
        engines.close()
    lines = [line for line in caplog.records if line.message == "repeated crashes"]
    assert [vars(line)["deaths"] for line in lines] == [3, 4]
