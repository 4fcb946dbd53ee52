"""Device under test, with all calls of torch.cuda."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Callable
from typing import Any

import torch
import transformers

__all__ = ["NEEDS_CUDA", "Hardware", "parse_device"]

NEEDS_CUDA = "needs a CUDA device"
_PROPERTIES = ("total_memory", "multi_processor_count", "L2_cache_size")
_QUERY = "driver_version,clocks.max.sm,clocks.max.memory,power.limit,mig.mode.current"


def parse_device(name: str) -> torch.device:
    """Return the device with its index, which `set_device` needs."""
    device = torch.device(name)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", 0)
    return device


class Hardware:
    """Device with its description and memory.

    `cuda` is torch.cuda. Tests pass a recorder that checks names and arguments, because
    machines without a GPU cannot run the calls.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self.device = device
        self._cuda = cuda

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def name(self) -> str:
        if not self.is_cuda:
            return self.device.type
        return str(self._cuda.get_device_name(self.device))

    def select(self) -> None:
        """Make the device the current one; call this before any allocation."""
        if self.is_cuda:
            self._cuda.set_device(self.device)

    def describe(self) -> dict[str, Any]:
        """Return software versions and, for a GPU, its sizes and driver."""
        description: dict[str, Any] = {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "cuda": torch.version.cuda,
        }
        if not self.is_cuda:
            return description | {"device": NEEDS_CUDA}
        properties = self._cuda.get_device_properties(self.device)
        description |= {name: getattr(properties, name, None) for name in _PROPERTIES}
        return description | {
            "capability": list(self.capability()),
            "cudnn": torch.backends.cudnn.version(),
            "driver": run_nvidia_smi(self.device.index or 0),
            "memory_at_start": self.read_memory(),
        }

    def capability(self) -> tuple[int, int]:
        """Return the CUDA device's compute capability."""
        major, minor = self._cuda.get_device_capability(self.device)
        return major, minor

    def synchronize(self) -> None:
        """Wait until the device is idle."""
        if self.is_cuda:
            self._cuda.synchronize(self.device)

    def release(self) -> None:
        """Release the memory of earlier parts and reset the peaks."""
        gc.collect()
        if self.is_cuda:
            self.synchronize()
            self._cuda.empty_cache()
            self._cuda.reset_peak_memory_stats(self.device)

    def read_memory(self) -> dict[str, int] | None:
        """Return the bytes of tensors, of torch's cache, and of the whole device.

        Return None for a CPU.

        `outside` is in use, but not by torch's allocator: CUDA's context, the
        libraries, and other processes.
        """
        if not self.is_cuda:
            return None
        free, total = self._cuda.mem_get_info(self.device)
        reserved = self._cuda.memory_reserved(self.device)
        return {
            "allocated": self._cuda.memory_allocated(self.device),
            "reserved": reserved,
            "peak_allocated": self._cuda.max_memory_allocated(self.device),
            "peak_reserved": self._cuda.max_memory_reserved(self.device),
            "free": free,
            "total": total,
            "outside": total - free - reserved,
        }

    def new_stream(self) -> Any:
        """Return a context with a new stream."""
        return self._cuda.stream(self._cuda.Stream(self.device))

    def is_usable(self) -> bool:
        """Release unused memory, compute a sum, and return True if it is right.

        After an illegal memory access every later call of the process fails.
        """
        try:
            self.release()
            value = float(torch.ones(1, device=self.device).add(1).item())
            self.synchronize()
        except Exception:  # torch raises RuntimeError or its subclass AcceleratorError
            return False
        return value == 2.0


def run_nvidia_smi(
    index: int, run: Callable[..., Any] = subprocess.run
) -> dict[str, str] | str:
    """Return nvidia-smi's values for a GPU by column, or why there are none."""
    command = ["nvidia-smi", f"--id={index}", f"--query-gpu={_QUERY}"]
    try:
        completed = run(
            [*command, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=15,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"nvidia-smi: {error}"
    values = [value.strip() for value in str(completed.stdout).strip().split(",")]
    return dict(zip(_QUERY.split(","), values, strict=False))
