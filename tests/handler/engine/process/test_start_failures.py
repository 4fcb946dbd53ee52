"""Explanations of known failures of a start."""

from __future__ import annotations

import errno
import re

import pytest

from handler.engine.process.start_failures import KINDS, explain_death, explain_failure
from handler.errors import ModelLoadError

# The messages of torch, CUDA, Python and the operating system, as they raise them.
OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 4.00 GiB. GPU 0 has a total capacity of "
    "21.98 GiB of which 1.02 GiB is free. {}this process has 17.30 GiB memory in use."
)


class OutOfMemoryError(RuntimeError):
    """Error with the name of torch's out-of-memory error."""


EXAMPLES = {
    "driver_too_old": RuntimeError(
        "The NVIDIA driver on your system is too old (found version 12020)."
    ),
    "driver_mismatch": RuntimeError(
        "Unexpected error from cudaGetDeviceCount(). Error 804: forward compatibility "
        "was attempted on non supported HW"
    ),
    "no_kernel_image": RuntimeError(
        "CUDA error: no kernel image is available for execution on the device"
    ),
    "fabric_manager": RuntimeError(
        "Unexpected error from cudaGetDeviceCount(). Error 802: system not yet "
        "initialized"
    ),
    "ecc_error": RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    "gpu_busy": RuntimeError(
        "CUDA error: CUDA-capable device(s) is/are busy or unavailable"
    ),
    "gpu_memory_in_use": OutOfMemoryError(
        OUT_OF_MEMORY.format("Process 4711 has 3.50 GiB memory in use. ")
    ),
    "gpu_memory": OutOfMemoryError(OUT_OF_MEMORY.format("")),
    "gpu_crash": RuntimeError(
        "CUDA error: an illegal memory access was encountered\nCompile with..."
    ),
    "invalid_device": RuntimeError("CUDA error: invalid device ordinal"),
    "no_driver": ImportError(
        "libcuda.so.1: cannot open shared object file: No such file or directory"
    ),
    "torch_without_cuda": AttributeError(
        "module 'torch._C' has no attribute '_cuda_setDevice'"
    ),
    "missing_library": ImportError(
        "libcudnn.so.9: cannot open shared object file: No such file or directory"
    ),
    "missing_package": ModuleNotFoundError("No module named 'accelerate'"),
    "disk_full": OSError(errno.ENOSPC, "No space left on device", "/opt/cache"),
    "read_only": OSError(errno.EROFS, "Read-only file system", "/opt/cache"),
    "permission": PermissionError(errno.EACCES, "Permission denied", "/opt/ml/model"),
    "host_memory": MemoryError(),
}


def test_every_known_kind_has_an_example():
    assert EXAMPLES.keys() == {kind.code for kind in KINDS}


@pytest.mark.parametrize("code", EXAMPLES)
def test_known_failure_has_a_cause_and_a_remedy(code):
    failure = explain_failure(EXAMPLES[code], "loading the weights")

    remedy = next(kind.remedy for kind in KINDS if kind.code == code)
    assert failure.code == code
    assert failure.reason.startswith("loading the weights failed: ")
    assert failure.reason.endswith(f"Remedy: {remedy}")


def test_unknown_failure_refers_to_the_log():
    failure = explain_failure(KeyError("layers"), "building the engine")

    assert failure.code == "unknown"
    assert "KeyError: 'layers'" in failure.reason
    assert "`start failed`" in failure.reason
    assert not failure.is_transient


def test_transient_failures_are_marked():
    transient = {
        code
        for code, error in EXAMPLES.items()
        if explain_failure(error, "").is_transient
    }

    assert transient == {"fabric_manager", "gpu_busy", "gpu_memory_in_use", "gpu_crash"}


def test_message_of_a_model_load_error_is_kept():
    error = ModelLoadError("MODEL_DIR is /x, which holds no config.json")

    assert explain_failure(error, "fetching").reason == error.detail


def test_full_disk_as_the_cause_adds_its_remedy():
    error = ModelLoadError("s3://b/p could not be fetched")
    error.__cause__ = EXAMPLES["disk_full"]

    failure = explain_failure(error, "fetching the weights")

    assert failure.code == "disk_full"
    assert failure.reason.startswith("s3://b/p could not be fetched. Remedy: the disk")


def test_explained_load_failure_has_no_second_remedy():
    words = "could not load the model: the disk is full. Remedy: free space"

    assert explain_death(words) == f"the engine process {words}"


def test_long_message_is_cut():
    failure = explain_failure(RuntimeError("x" * 10_000), "loading")

    assert len(failure.reason) < 1000


def test_remedies_name_existing_settings():
    from handler.settings import VARIABLES, EngineSettings

    names = EngineSettings.__dataclass_fields__
    deaths = [explain_death(words) for words in ("was not ready after 1 s", "died")]
    for remedy in (*(kind.remedy for kind in KINDS), *deaths):
        for variable in re.findall(r"CHANDRA_([A-Z_]+)", remedy):
            assert variable.lower() in names or variable in VARIABLES


def test_error_of_the_hub_does_not_match_a_gpu_failure():
    error = ConnectionError("hub says: unknown error (503), busy or unavailable")

    failure = explain_failure(error, "fetching the weights")

    assert (failure.code, failure.is_transient) == ("unknown", False)


@pytest.mark.parametrize(
    ("stage", "is_advised"),
    [("building the engine on cuda:0", True), ("fetching the weights", False)],
)
def test_generate_is_suggested_only_if_the_engine_failed(stage, is_advised):
    failure = explain_failure(KeyError("layers"), stage)

    assert ("CHANDRA_ENGINE=generate" in failure.reason) is is_advised
