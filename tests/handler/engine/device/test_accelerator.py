"""Choice of the device for a model, and errors for unsuitable machines."""

from __future__ import annotations

import pytest

from handler.engine.device.accelerator import Accelerator, choose_device
from handler.errors import ModelLoadError

GIB = 1024**3
CHANDRA_BYTES = 17_500_000_000
MINI_BYTES = 16_000_000

T4 = Accelerator("Tesla T4", (7, 5), 15 * GIB)
A10G = Accelerator("NVIDIA A10G", (8, 6), 22 * GIB)
A4000 = Accelerator("NVIDIA RTX A4000", (8, 6), 16 * GIB)
H100 = Accelerator("NVIDIA H100", (9, 0), 80 * GIB)


def choose_among(
    *accelerators, index=0, is_mini=False, allow_cpu=False, num_bytes=None
):
    if num_bytes is None:
        num_bytes = MINI_BYTES if is_mini else CHANDRA_BYTES
    return choose_device(
        accelerators,
        index,
        is_mini=is_mini,
        allow_cpu=allow_cpu,
        weights_bytes=num_bytes,
    )


def test_mini_runs_on_a_processor():
    assert choose_among(is_mini=True) == "cpu"


def test_chandra_needs_permission_to_run_on_a_processor():
    with pytest.raises(ModelLoadError, match=r"no CUDA device was found.*ALLOW_CPU=1"):
        choose_among()

    assert choose_among(allow_cpu=True) == "cpu"


def test_error_without_a_gpu_suggests_the_mini_model():
    with pytest.raises(ModelLoadError, match="MODEL_ID out for the embedded mini"):
        choose_among()


@pytest.mark.parametrize("accelerator", [A10G, H100], ids=lambda a: a.name)
@pytest.mark.parametrize("is_mini", [True, False])
def test_accelerator_with_bfloat16_and_memory_is_used(accelerator, is_mini):
    assert choose_among(accelerator, is_mini=is_mini) == "cuda:0"


def test_accelerator_is_preferred_to_an_allowed_processor():
    assert choose_among(A10G, allow_cpu=True) == "cuda:0"


def test_each_engine_process_has_its_own_accelerator():
    assert choose_among(T4, H100, H100, index=2) == "cuda:2"


def test_error_without_bfloat16_names_suitable_machines():
    with pytest.raises(ModelLoadError) as caught:
        choose_among(T4)

    assert "Tesla T4 (compute capability 7.5, 15 GB) has no bfloat16" in (
        caught.value.detail
    )
    assert "ml.g5" in caught.value.detail


def test_mini_runs_on_the_processor_without_bfloat16():
    assert choose_among(T4, is_mini=True) == "cpu"


def test_error_of_a_small_accelerator_has_both_sizes():
    with pytest.raises(
        ModelLoadError,
        match=r"A4000 has 16\.0 GiB, but weights and one page take 17\.9 GiB: use",
    ):
        choose_among(A4000)


def test_memory_beyond_the_weights_is_required():
    with pytest.raises(ModelLoadError, match="at least 24 GB"):
        choose_among(A10G, num_bytes=A10G.memory_bytes)


def test_unknown_weights_size_skips_the_memory_check():
    assert choose_among(A4000, num_bytes=0) == "cuda:0"

    with pytest.raises(ModelLoadError, match="bfloat16"):
        choose_among(T4, num_bytes=0)
