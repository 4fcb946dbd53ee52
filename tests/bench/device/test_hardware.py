"""Calls of torch.cuda, checked against the signatures of the installed torch."""

from __future__ import annotations

import inspect
import subprocess
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.device.hardware import Hardware, parse_device, run_nvidia_smi
from bench.device.serving import measure_workspace

GIB = 1024**3
ANSWERS = {
    "get_device_name": "NVIDIA X",
    "get_device_properties": SimpleNamespace(
        total_memory=80 * GIB, multi_processor_count=132, L2_cache_size=50 * 1024**2
    ),
    "get_device_capability": (9, 0),
    "mem_get_info": (60 * GIB, 80 * GIB),
    "memory_reserved": 18 * GIB,
    "memory_allocated": 17 * GIB,
    "max_memory_reserved": 19 * GIB,
    "max_memory_allocated": 18 * GIB,
    "stream": nullcontext(),
}


class RecordingCuda:
    """Fake torch.cuda that rejects names and arguments unknown to torch."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str):
        signature = inspect.signature(getattr(torch.cuda, name))

        def call(*args, **kwargs):
            signature.bind(*args, **kwargs)
            self.calls.append(name)
            return ANSWERS.get(name)

        return call


@pytest.fixture
def cuda() -> RecordingCuda:
    return RecordingCuda()


@pytest.fixture
def hardware(cuda) -> Hardware:
    return Hardware(parse_device("cuda"), cuda)


def test_a_device_without_an_index_is_the_first():
    assert parse_device("cuda") == torch.device("cuda", 0)
    assert parse_device("cuda:1") == torch.device("cuda", 1)
    assert parse_device("cpu") == torch.device("cpu")


def test_a_gpu_is_selected_and_described(hardware, cuda):
    hardware.select()
    description = hardware.describe()

    assert hardware.name == "NVIDIA X"
    assert cuda.calls[0] == "set_device"
    assert description["capability"] == [9, 0]
    assert description["multi_processor_count"] == 132
    assert (
        "nvidia-smi" in str(description["driver"])
        or "driver_version" in description["driver"]
    )


def test_memory_that_torch_does_not_manage_is_counted(hardware):
    memory = hardware.read_memory()

    assert memory["outside"] == 2 * GIB
    assert memory["peak_allocated"] == 18 * GIB


def test_release_empties_the_cache_and_then_resets_peaks(hardware, cuda):
    hardware.release()

    assert cuda.calls == ["synchronize", "empty_cache", "reset_peak_memory_stats"]


def test_a_device_whose_calls_raise_is_not_usable(hardware):
    # This build of torch has no CUDA, so the small computation raises.
    if torch.cuda.is_available():
        pytest.skip("the device computes")

    assert not hardware.is_usable()


def test_cpu_is_usable_and_has_no_memory_values():
    hardware = Hardware(torch.device("cpu"))

    assert hardware.is_usable()
    assert hardware.read_memory() is None
    assert hardware.describe()["device"] == "needs a CUDA device"


def test_workspace_is_measured_with_a_second_stream(hardware, cuda):
    measured_model: Any = None

    with FakeTensorMode():
        workspace = measure_workspace(measured_model, hardware, 1.0)

    assert workspace == {"bytes_per_stream": 0}
    assert cuda.calls.index("Stream") < cuda.calls.index("stream")


def test_output_of_nvidia_smi_is_read_by_column():
    def run_command(command, **options):
        assert "--id=1" in command
        return SimpleNamespace(stdout="580.95, 1980 MHz, 3201 MHz, 700.00 W, [N/A]\n")

    columns = run_nvidia_smi(1, run_command)

    assert isinstance(columns, dict)
    assert columns["driver_version"] == "580.95"
    assert columns["mig.mode.current"] == "[N/A]"


def test_timeout_of_nvidia_smi_is_reported_as_text():
    def run_command(command, **options):
        raise subprocess.TimeoutExpired(command, 15)

    assert "timed out" in run_nvidia_smi(0, run_command)
