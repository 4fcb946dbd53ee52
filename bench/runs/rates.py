"""Measured bandwidth and matrix multiplication rate of a device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from bench.costs.roofline import DeviceRates
from bench.teacher_forcing.forcing import make_timer

__all__ = ["measure_bandwidth", "measure_gemm_rate", "measure_rates", "time_call"]


def measure_bandwidth(device: torch.device) -> float:
    """Return the bytes per second, read and written, of a copy beyond any cache."""
    size = 2**31 if device.type == "cuda" else 2**26
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / time_call(lambda: target.copy_(source), device)


def measure_gemm_rate(device: torch.device) -> float:
    """Return the FLOPs per second of a bfloat16 product of two large matrices."""
    size = 8192 if device.type == "cuda" else 256
    left = torch.randn(size, size, device=device).to(torch.bfloat16)
    right = torch.randn(size, size, device=device).to(torch.bfloat16)
    return 2 * size**3 / time_call(lambda: left @ right, device)


def measure_rates(device: torch.device) -> DeviceRates:
    """Measure the rates of a roofline."""
    return DeviceRates(measure_bandwidth(device), measure_gemm_rate(device))


def time_call(compute: Callable[[], Any], device: torch.device) -> float:
    """Call `compute` a few dozen times, and return the seconds of a call.

    This is the lowest mean of several series, after three calls to warm up.
    """
    timer = make_timer(device, time.perf_counter)
    num_calls, num_tries = (20, 3) if device.type == "cuda" else (3, 2)
    for _ in range(3):
        compute()
    tries = []
    for _ in range(num_tries):
        begin = timer.take()
        for _ in range(num_calls):
            compute()
        tries.append((begin, timer.take()))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return min(timer.seconds_between(*pair) for pair in tries) / num_calls
