"""Comparison of the engine's forward pass with that of transformers."""

from __future__ import annotations

from typing import Any

from bench.device.hardware import Hardware
from bench.runs.systems import MeasuredModel
from handler.engine.device.checks.forward_check import (
    LARGEST_DEEP_DEVIATION,
    check_forward,
)
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.fallbacks import SelfTestError

__all__ = ["compare_forward"]

_NUM_POSITIONS = 1024


def compare_forward(
    measured_model: MeasuredModel, hardware: Hardware, seconds: float
) -> dict[str, Any]:
    """Run the self-test's check of the forward pass with random weights.

    Rounding errors of trained weights may be larger or smaller.
    """
    runner = TorchRunner(
        measured_model.model,
        _NUM_POSITIONS,
        max_page_tokens=measured_model.max_page_tokens,
    )
    result: dict[str, Any] = {"is_right": True, "allowed": LARGEST_DEEP_DEVIATION}
    try:
        result["error"] = check_forward(measured_model.model, runner)
    except SelfTestError as failure:
        result |= {
            "is_right": False,
            "error": failure.actual,
            "allowed": failure.allowed,
            "failure": str(failure),
        }
    del runner
    hardware.release()
    return result
