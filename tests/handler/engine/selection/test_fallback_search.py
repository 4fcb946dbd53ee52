"""Execution mode that is chosen after each kind of failure."""

from __future__ import annotations

import logging

import pytest

from handler.engine.fallbacks import (
    Check,
    DeviceLostError,
    ExecutionMode,
    Fallback,
    SelfTestError,
    list_modes,
    settings_after_death,
)
from handler.engine.selection.fallback_search import FallbackSearch
from handler.errors import ModelLoadError
from handler.settings import EngineSettings
from tests.handler.engine.device.shortages import SHORTAGES

MODES = list_modes(EngineSettings(), has_operator=True)
GRAPHS, EAGER, TORCH, GENERATE = MODES


class FailingBuilder:
    """Builder of modes that fails in the given checks."""

    def __init__(self, **failures: Exception) -> None:
        self.failures = failures
        self.tried: list[ExecutionMode] = []
        self.announced: list[Check | None] = []
        self.is_usable = True
        self.search: FallbackSearch[str] = FallbackSearch(
            self.announced.append, lambda: self.is_usable
        )

    def run(self) -> str:
        return self.search.run(MODES, self._build)

    def _build(self, mode: ExecutionMode) -> str:
        self.tried.append(mode)
        if mode.attention == "flash" and Check.ATTENTION not in self.search.passed:
            self._check(Check.ATTENTION)
        if mode.cuda_graphs:
            self._check(Check.CUDA_GRAPHS)
        if mode.engine == "native":
            self._check(Check.FORWARD)
            self._check(Check.LARGEST_IMAGE)
        return str(mode)

    def _check(self, check: Check) -> None:
        with self.search.checking(check):
            if check in self.failures:
                raise self.failures[check]


def make_mismatch(check: Check) -> SelfTestError:
    return SelfTestError(check, "9 queries", actual=0.8, allowed=0.02)


def test_fastest_mode_is_used_if_all_checks_pass():
    builder = FailingBuilder()

    assert builder.run() == str(GRAPHS)
    assert builder.search.fallbacks == []
    assert builder.announced == [
        *(Check.ATTENTION, None),
        *(Check.CUDA_GRAPHS, None),
        *(Check.FORWARD, None),
        *(Check.LARGEST_IMAGE, None),
    ]


@pytest.mark.parametrize(
    ("error", "fallback"),
    [
        (RuntimeError("stream is capturing"), Fallback.CUDA_GRAPHS_FAILED),
        (make_mismatch(Check.CUDA_GRAPHS), Fallback.CUDA_GRAPHS_MISMATCH),
    ],
)
def test_failing_graphs_are_disabled_first(error, fallback):
    builder = FailingBuilder(cuda_graphs=error)

    assert builder.run() == str(EAGER)
    assert builder.search.fallbacks == [fallback]
    # The operator has passed its check, so it is not checked again.
    assert builder.announced.count(Check.ATTENTION) == 1


@pytest.mark.parametrize(
    ("error", "fallback"),
    [
        (RuntimeError("no kernel image"), Fallback.ATTENTION_FAILED),
        (make_mismatch(Check.ATTENTION), Fallback.ATTENTION_MISMATCH),
    ],
)
def test_wrong_operator_leads_to_torchs_attention(error, fallback):
    builder = FailingBuilder(attention=error)

    assert builder.run() == str(TORCH)
    assert builder.tried == [GRAPHS, TORCH]
    assert builder.search.fallbacks == [fallback]


def test_wrong_forward_pass_tries_torchs_attention_first():
    builder = FailingBuilder(forward=make_mismatch(Check.FORWARD))

    assert builder.run() == str(GENERATE)
    assert builder.tried == [GRAPHS, TORCH, GENERATE]
    assert builder.search.fallbacks == [Fallback.FORWARD_MISMATCH]


def test_generate_is_used_if_the_native_engine_fails():
    builder = FailingBuilder(largest_image=RuntimeError("no backend"))

    assert builder.run() == str(GENERATE)
    assert builder.search.fallbacks == [
        Fallback.ATTENTION_FAILED,
        Fallback.ENGINE_GENERATE,
    ]


@pytest.mark.parametrize("shortage", SHORTAGES)
def test_out_of_memory_disables_graphs_first(shortage):
    class NoRoomForGraphs(FailingBuilder):
        def _build(self, mode: ExecutionMode) -> str:
            built = super()._build(mode)
            if mode.cuda_graphs:
                raise SHORTAGES[shortage]
            return built

    builder = NoRoomForGraphs()

    assert builder.run() == str(EAGER)
    assert builder.search.fallbacks == [Fallback.CUDA_GRAPHS_FAILED]


def test_model_load_error_ends_the_search():
    builder = FailingBuilder(largest_image=ModelLoadError("use a larger GPU"))

    with pytest.raises(ModelLoadError, match="larger GPU"):
        builder.run()

    assert builder.tried == [GRAPHS]


def test_lost_device_announces_its_check_again():
    builder = FailingBuilder(cuda_graphs=RuntimeError("an illegal memory access"))
    builder.is_usable = False

    with pytest.raises(DeviceLostError):
        builder.run()

    assert builder.announced[-1] is Check.CUDA_GRAPHS


def test_failed_check_is_logged_once(caplog):
    caplog.set_level(logging.INFO, "handler.engine.selection.fallback_search")
    builder = FailingBuilder(attention=make_mismatch(Check.ATTENTION))

    builder.run()

    [line] = caplog.records
    facts = vars(line)
    assert (line.levelname, line.message) == ("WARNING", "self-test failed")
    assert facts["check"] == "attention"
    assert facts["fallback"] == "attention_mismatch"
    assert facts["case"] == "9 queries"
    assert (facts["error"], facts["allowed_error"]) == (0.8, 0.02)
    assert facts["to"] == "native engine, torch attention, eager steps"


def modes_with(**settings: object) -> list[ExecutionMode]:
    return list_modes(EngineSettings(**settings), has_operator=True)  # type: ignore[arg-type]


def test_settings_exclude_execution_modes():
    assert modes_with(cuda_graphs=False) == [EAGER, TORCH, GENERATE]
    assert modes_with(attention="torch") == [TORCH, GENERATE]
    assert list_modes(EngineSettings(), has_operator=False) == [TORCH, GENERATE]


@pytest.mark.parametrize(
    ("check", "fallbacks"),
    [
        (
            Check.CUDA_GRAPHS,
            ["cuda_graphs_failed", "attention_failed", "engine_generate"],
        ),
        (Check.ATTENTION, ["attention_failed", "engine_generate"]),
        (Check.FORWARD, ["attention_failed", "engine_generate"]),
        (Check.LARGEST_IMAGE, ["attention_failed", "engine_generate"]),
    ],
)
def test_repeated_deaths_in_a_check_disable_more(check, fallbacks):
    settings = EngineSettings()
    given_up = []

    while (chosen := settings_after_death(check, settings)) is not None:
        settings, fallback = chosen
        given_up.append(fallback)

    assert given_up == fallbacks
