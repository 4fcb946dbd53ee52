"""Explanations of failed starts of an engine process, with remedies.

A closed table of known failures is matched against the text of an exception and of its
causes. The module does not import torch, because that import may be what failed.
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
    """Known cause of a failure. `pattern` matches "TypeName: message"."""

    code: str
    pattern: re.Pattern[str]
    remedy: str
    is_transient: bool = False
    """True if a later start may succeed without any change."""


@dataclass(frozen=True, slots=True)
class StartFailure:
    """Explanation of a failed start."""

    code: str
    reason: str
    """Sentence for people with the cause, the affected object and a remedy."""
    is_transient: bool


def _make_kind(
    code: str, pattern: str, remedy: str, *, is_transient: bool = False
) -> _Kind:
    return _Kind(code, re.compile(pattern, re.IGNORECASE), remedy, is_transient)


KINDS = (
    _make_kind(
        "driver_too_old",
        r"driver on your system is too old|driver version is insufficient",
        "update the NVIDIA driver of this machine, or use an image whose torch is "
        "built for the CUDA version that the driver supports",
    ),
    _make_kind(
        "driver_mismatch",
        r"driver/library version mismatch|forward compatibility was attempted",
        "the NVIDIA driver and its libraries have different versions: restart the "
        "machine after a driver update, and remove CUDA compat libraries from "
        "LD_LIBRARY_PATH",
    ),
    _make_kind(
        "no_kernel_image",
        r"no kernel image is available|is not compatible with the current PyTorch",
        "this torch is not built for this GPU's compute capability: use a GPU from "
        "A10G (8.6) to B200 (10.0), or an image whose torch supports this GPU",
    ),
    _make_kind(
        "fabric_manager",
        r"system not yet initialized|CUDA_ERROR_SYSTEM_NOT_READY",
        "GPUs connected by NVSwitch need the service nvidia-fabricmanager: start it in "
        "the version of the driver",
        is_transient=True,
    ),
    _make_kind(
        "ecc_error",
        r"uncorrectable ECC error|ECC error encountered",
        "the GPU's memory is defective or needs a reset: replace the instance, or "
        "reset the GPU with nvidia-smi --gpu-reset",
    ),
    _make_kind(
        "gpu_busy",
        r"CUDA.*busy or unavailable",
        "another process holds the GPU exclusively: end it, or set the compute mode "
        "to default with nvidia-smi -c 0",
        is_transient=True,
    ),
    _make_kind(
        "gpu_memory_in_use",
        r"out of memory[\s\S]*\bprocess \d+ has [\d.]+ .iB memory in use",
        "other processes use this GPU's memory: end them, or give this server a GPU "
        "of its own",
        is_transient=True,
    ),
    _make_kind(
        "gpu_memory",
        OUT_OF_MEMORY + r"|CUBLAS_STATUS_NOT_INITIALIZED",
        "the GPU does not have enough free memory: lower kv_cache_tokens or "
        "max_sequences, or use a GPU with more memory",
    ),
    _make_kind(
        "gpu_crash",
        r"illegal memory access|device-side assert|misaligned address"
        r"|illegal instruction|unspecified launch failure|CUDA error: launch fail"
        r"|GPU is lost|CUDA error: unknown error|CUDA_ERROR_UNKNOWN",
        "a kernel crashed, or the GPU failed: see dmesg for Xid errors and replace "
        "the instance if there are any; otherwise set CHANDRA_CUDA_GRAPHS=false, "
        "then CHANDRA_ATTENTION=torch, then CHANDRA_ENGINE=generate",
        is_transient=True,
    ),
    _make_kind(
        "invalid_device",
        r"invalid device ordinal",
        "a GPU is no longer visible: check CUDA_VISIBLE_DEVICES and nvidia-smi",
    ),
    _make_kind(
        "no_driver",
        r"libcuda\.so|libnvidia-ml|found no NVIDIA driver|no CUDA GPUs are available",
        "the NVIDIA driver cannot be used: install it, and start the container with "
        "--gpus all and the NVIDIA container toolkit",
    ),
    _make_kind(
        "torch_without_cuda",
        r"_cuda_setDevice|not compiled with CUDA",
        "this torch is built for CPUs, but the machine has a GPU: install the build "
        "for CUDA, use the image for CUDA, or hide the GPU with an empty "
        "CUDA_VISIBLE_DEVICES",
    ),
    _make_kind(
        "missing_library",
        r"cannot open shared object file|undefined symbol|DLL load failed",
        "a shared library is missing or of another version: reinstall torch and its "
        "nvidia-* packages in the versions of the requirements, or use the image",
    ),
    _make_kind(
        "missing_package",
        r"^(ModuleNotFoundError|ImportError)",
        "a Python package is missing or of an unsupported version: install the extra "
        "`serve` in the versions of the requirements, or use the image",
    ),
    _make_kind(
        "disk_full",
        r"no space left on device|disk quota exceeded",
        "the disk is full: free space, or set CHANDRA_CACHE_DIR (weights from S3) or "
        "HF_HOME (weights of the hub) to a folder on a larger disk",
    ),
    _make_kind(
        "read_only",
        r"read-only file system",
        "the folder cannot be written: set CHANDRA_CACHE_DIR (weights from S3) or "
        "HF_HOME (weights of the hub) to a writable folder",
    ),
    _make_kind(
        "permission",
        r"PermissionError|permission denied",
        "the user of the server must be able to read the weights and write to the "
        "cache: change the owner or the mode of the path",
    ),
    _make_kind(
        "host_memory",
        r"^MemoryError|cannot allocate memory|DefaultCPUAllocator: can't allocate",
        "the machine or the container has no memory left: give it more, or lower "
        "kv_cache_tokens",
    ),
)
"""Known kinds, the more specific ones first."""

_UNKNOWN_REMEDY = (
    "there is no specific remedy for this failure: see the traceback in the log line "
    "`start failed`"
)
_GENERATE_ADVICE = (
    ". CHANDRA_ENGINE=generate starts the server without the native engine"
)
BUILDING = "building the engine"
"""Beginning of the name of the stage that depends on the engine: its failures suggest
CHANDRA_ENGINE=generate."""


_DEATH_REMEDIES = (
    ("could not load the model", None),
    (
        "was ended by SIGKILL",
        "the kernel kills a process when the machine or the container has no memory "
        "left (see dmesg for `Out of memory`): give it more, or lower kv_cache_tokens",
    ),
    (
        "was not ready after",
        "the log says which stage took so long: raise CHANDRA_LOAD_SECONDS, or bring "
        "the weights closer to this machine",
    ),
)
"""Beginning of the description of a process's end, and its remedy. None: the text has
a remedy already."""

_CRASH_REMEDY = (
    "a library or a kernel crashed, or the GPU was lost: see the log's last lines and "
    "dmesg for Xid errors, and replace the instance if there are any; otherwise set "
    "CHANDRA_CUDA_GRAPHS=false, then CHANDRA_ATTENTION=torch, then "
    "CHANDRA_ENGINE=generate"
)


def explain_death(cause: str) -> str:
    """Describe how an engine process ended before it was ready, with a remedy."""
    reason = f"the engine process {cause}"
    for beginning, remedy in _DEATH_REMEDIES:
        if cause.startswith(beginning):
            return reason if remedy is None else f"{reason}. Remedy: {remedy}"
    return f"{reason}. Remedy: {_CRASH_REMEDY}"


def explain_failure(error: BaseException, stage: str) -> StartFailure:
    """Explain `error`, which was raised during `stage`, with a remedy.

    A ModelLoadError keeps its own text; a remedy is added only if one of its causes is
    a known failure.
    """
    kind = next(
        (
            kind
            for kind in KINDS
            for text in _iterate_messages(error)
            if kind.pattern.search(text)
        ),
        None,
    )
    if isinstance(error, ModelLoadError):
        if kind is None or error.__cause__ is None:
            return StartFailure(error.code, error.detail, error.is_transient)
        reason = f"{error.detail}. Remedy: {kind.remedy}"
        return StartFailure(kind.code, reason, error.is_transient or kind.is_transient)
    problem = error.detail if isinstance(error, HandlerError) else _shorten(error)
    default_remedy = _UNKNOWN_REMEDY + (
        _GENERATE_ADVICE if stage.startswith(BUILDING) else ""
    )
    remedy = kind.remedy if kind else default_remedy
    return StartFailure(
        code="unknown" if kind is None else kind.code,
        reason=f"{stage} failed: {problem}. Remedy: {remedy}",
        is_transient=kind is not None and kind.is_transient,
    )


def _iterate_messages(error: BaseException) -> Iterator[str]:
    """Yield each exception of the chain of causes as "TypeName: message"."""
    cause: BaseException | None = error
    while cause is not None:
        yield f"{type(cause).__name__}: {cause}"
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            yield "No space left on device"
        cause = cause.__cause__ or cause.__context__


def _shorten(error: BaseException) -> str:
    """Return the exception on one line, cut to MAX_REASON_CHARACTERS."""
    text = " ".join(str(error).split())
    if len(text) > MAX_REASON_CHARACTERS:
        text = f"{text[:MAX_REASON_CHARACTERS]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
