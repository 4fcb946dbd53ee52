"""Explain a failed start of an engine process, with a remedy.

A closed table of known kinds is matched against the text of an exception and of its
causes. The module does not import torch, whose import may be the failure.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass

from handler.engine.out_of_memory import OUT_OF_MEMORY
from handler.errors import HandlerError, ModelLoadError

__all__ = ["BUILDING", "KINDS", "StartFailure", "explain_death", "explain_failure"]

MAX_REASON_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class _Kind:
    """A known cause. `pattern` matches "TypeName: message"."""

    code: str
    pattern: re.Pattern[str]
    remedy: str
    is_transient: bool = False
    """A later start may succeed without any change."""


@dataclass(frozen=True, slots=True)
class StartFailure:
    """The explanation of a failed start."""

    code: str
    reason: str
    """The sentence for people: cause, subject and remedy."""
    is_transient: bool


def _kind(code: str, pattern: str, remedy: str, *, is_transient: bool = False) -> _Kind:
    return _Kind(code, re.compile(pattern, re.IGNORECASE), remedy, is_transient)


KINDS = (
    _kind(
        "driver_too_old",
        r"driver on your system is too old|driver version is insufficient",
        "update the NVIDIA driver of this machine, or use an image whose torch is "
        "built for the CUDA version that the driver supports",
    ),
    _kind(
        "driver_mismatch",
        r"driver/library version mismatch|forward compatibility was attempted",
        "the NVIDIA driver and its libraries have different versions: restart the "
        "machine after a driver update, and remove CUDA compat libraries from "
        "LD_LIBRARY_PATH",
    ),
    _kind(
        "no_kernel_image",
        r"no kernel image is available|is not compatible with the current PyTorch",
        "this torch is not built for this GPU's compute capability: use a GPU from "
        "A10G (8.6) to B200 (10.0), or an image whose torch supports this GPU",
    ),
    _kind(
        "fabric_manager",
        r"system not yet initialized|CUDA_ERROR_SYSTEM_NOT_READY",
        "GPUs that are joined by NVSwitch need the service nvidia-fabricmanager: "
        "start it, in the driver's version",
        is_transient=True,
    ),
    _kind(
        "ecc_error",
        r"uncorrectable ECC error|ECC error encountered",
        "the GPU's memory is defective or needs a reset: replace the instance, or "
        "reset the GPU with nvidia-smi --gpu-reset",
    ),
    _kind(
        "gpu_busy",
        r"CUDA.*busy or unavailable",
        "another process holds the GPU exclusively: end it, or set the compute mode "
        "to default with nvidia-smi -c 0",
        is_transient=True,
    ),
    _kind(
        "gpu_memory_in_use",
        r"out of memory[\s\S]*\bprocess \d+ has [\d.]+ .iB memory in use",
        "other processes use this GPU's memory: end them, or give this server a GPU "
        "of its own",
        is_transient=True,
    ),
    _kind(
        "gpu_memory",
        OUT_OF_MEMORY + r"|CUBLAS_STATUS_NOT_INITIALIZED",
        "the GPU has no memory left for this: lower kv_cache_tokens or "
        "max_sequences, or use a GPU with more memory",
    ),
    _kind(
        "gpu_crash",
        r"illegal memory access|device-side assert|misaligned address"
        r"|illegal instruction|unspecified launch failure|CUDA error: launch fail"
        r"|GPU is lost|CUDA error: unknown error|CUDA_ERROR_UNKNOWN",
        "a kernel crashed, or the GPU failed: see dmesg for Xid errors and replace "
        "the instance if there are any; otherwise set CHANDRA_CUDA_GRAPHS=false, "
        "then CHANDRA_ATTENTION=torch, then CHANDRA_ENGINE=generate",
        is_transient=True,
    ),
    _kind(
        "invalid_device",
        r"invalid device ordinal",
        "a GPU that was there is gone: look at CUDA_VISIBLE_DEVICES and nvidia-smi",
    ),
    _kind(
        "no_driver",
        r"libcuda\.so|libnvidia-ml|found no NVIDIA driver|no CUDA GPUs are available",
        "the NVIDIA driver cannot be used: install it, and start the container with "
        "--gpus all and the NVIDIA container toolkit",
    ),
    _kind(
        "torch_without_cuda",
        r"_cuda_setDevice|not compiled with CUDA",
        "this torch is built for processors, but the machine has a GPU: install the "
        "build for CUDA or use the image for CUDA, or hide the GPU with an empty "
        "CUDA_VISIBLE_DEVICES",
    ),
    _kind(
        "missing_library",
        r"cannot open shared object file|undefined symbol|DLL load failed",
        "a shared library is missing or of another version: reinstall torch and its "
        "nvidia-* packages in the versions of the requirements, or use the image",
    ),
    _kind(
        "missing_package",
        r"^(ModuleNotFoundError|ImportError)",
        "a Python package is missing or of an unsupported version: install the extra "
        "`serve` in the versions of the requirements, or use the image",
    ),
    _kind(
        "disk_full",
        r"no space left on device|disk quota exceeded",
        "the disk is full: free space, or set CHANDRA_CACHE_DIR (weights from S3) or "
        "HF_HOME (weights of the hub) to a folder on a larger disk",
    ),
    _kind(
        "read_only",
        r"read-only file system",
        "the folder cannot be written: set CHANDRA_CACHE_DIR (weights from S3) or "
        "HF_HOME (weights of the hub) to a writable folder",
    ),
    _kind(
        "permission",
        r"PermissionError|permission denied",
        "let the user that the server runs as read the weights and write the cache: "
        "change the owner or the mode of the path",
    ),
    _kind(
        "host_memory",
        r"^MemoryError|cannot allocate memory|DefaultCPUAllocator: can't allocate",
        "the machine or the container has no memory left: give it more, or lower "
        "kv_cache_tokens",
    ),
)
"""Known kinds, the more specific ones first."""

_UNKNOWN = (
    "this kind of failure is not known: the line `start failed` in the log has the "
    "traceback"
)
_WITHOUT_NATIVE = (
    ". CHANDRA_ENGINE=generate starts the server without the native engine"
)
BUILDING = "building the engine"
"""Beginning of the name of the stage that depends on the choice of the engine."""


_DEATHS = (
    ("could not load the model", None),  # the process has explained that itself
    (
        "was ended by SIGKILL",
        "the kernel ends processes so when the machine or the container has no memory "
        "left (see dmesg for `Out of memory`): give it more, or lower kv_cache_tokens",
    ),
    (
        "was not ready after",
        "the log says which stage took so long: raise CHANDRA_LOAD_SECONDS, or bring "
        "the weights closer to this machine",
    ),
)
"""How a process ended before it was ready, and what to do about it."""

_CRASHED = (
    "a library or a kernel crashed, or the GPU was lost: see the log's last lines and "
    "dmesg for Xid errors, and replace the instance if there are any; otherwise set "
    "CHANDRA_CUDA_GRAPHS=false, then CHANDRA_ATTENTION=torch, then "
    "CHANDRA_ENGINE=generate"
)


def explain_death(words: str) -> str:
    """Describe how an engine process ended before it was ready, with a remedy."""
    reason = f"the engine process {words}"
    for beginning, remedy in _DEATHS:
        if words.startswith(beginning):
            return reason if remedy is None else f"{reason}. Remedy: {remedy}"
    return f"{reason}. Remedy: {_CRASHED}"


def explain_failure(error: BaseException, stage: str) -> StartFailure:
    """Describe `error`, which was raised during `stage`, with a remedy.

    A ModelLoadError keeps its own sentence; a remedy is added if one of its causes is
    of a known kind.
    """
    kind = next(
        (
            kind
            for kind in KINDS
            for text in _messages(error)
            if kind.pattern.search(text)
        ),
        None,
    )
    if isinstance(error, ModelLoadError):
        remedy = None if kind is None or error.__cause__ is None else kind.remedy
        reason = error.detail if remedy is None else f"{error.detail}. Remedy: {remedy}"
        is_transient = error.is_transient or (
            remedy is not None and kind is not None and kind.is_transient
        )
        code = error.code if kind is None or remedy is None else kind.code
        return StartFailure(code, reason, is_transient)
    what = error.detail if isinstance(error, HandlerError) else _shortened(error)
    unknown = _UNKNOWN + (_WITHOUT_NATIVE if stage.startswith(BUILDING) else "")
    return StartFailure(
        code="unknown" if kind is None else kind.code,
        reason=f"{stage} failed: {what}. Remedy: {kind.remedy if kind else unknown}",
        is_transient=kind is not None and kind.is_transient,
    )


def _messages(error: BaseException) -> Iterator[str]:
    """Yield each exception of the chain of causes as "TypeName: message"."""
    found: BaseException | None = error
    while found is not None:
        yield f"{type(found).__name__}: {found}"
        if isinstance(found, OSError) and found.errno in (errno.ENOSPC, errno.EDQUOT):
            yield "No space left on device"
        found = found.__cause__ or found.__context__


def _shortened(error: BaseException) -> str:
    """Return the exception on one line, cut to MAX_REASON_CHARACTERS."""
    text = " ".join(str(error).split())
    if len(text) > MAX_REASON_CHARACTERS:
        text = f"{text[:MAX_REASON_CHARACTERS]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
