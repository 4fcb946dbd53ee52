"""Which machine is good enough for which model, and what is said of the others."""

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


def device(*accelerators, index=0, is_mini=False, allow_cpu=False, num_bytes=None):
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
    assert device(is_mini=True) == "cpu"


def test_chandra_does_not_run_on_a_processor_unless_it_is_allowed():
    with pytest.raises(ModelLoadError, match=r"no CUDA device was found.*ALLOW_CPU=1"):
        device()

    assert device(allow_cpu=True) == "cpu"


def test_a_machine_without_a_gpu_is_told_what_else_there_is():
    with pytest.raises(ModelLoadError, match="MODEL_ID out for the embedded mini"):
        device()


@pytest.mark.parametrize("accelerator", [A10G, H100], ids=lambda a: a.name)
@pytest.mark.parametrize("is_mini", [True, False])
def test_an_accelerator_with_bfloat16_and_room_is_used(accelerator, is_mini):
    assert device(accelerator, is_mini=is_mini) == "cuda:0"


def test_an_accelerator_is_used_even_where_a_processor_would_be_allowed():
    assert device(A10G, allow_cpu=True) == "cuda:0"


def test_each_engine_process_has_its_own_accelerator():
    assert device(T4, H100, H100, index=2) == "cuda:2"


def test_an_accelerator_without_bfloat16_is_refused_with_what_to_use():
    with pytest.raises(ModelLoadError) as caught:
        device(T4)

    assert "Tesla T4 (compute capability 7.5, 15 GB) has no bfloat16" in (
        caught.value.detail
    )
    assert "ml.g5" in caught.value.detail


def test_mini_goes_to_the_processor_where_the_accelerator_has_no_bfloat16():
    assert device(T4, is_mini=True) == "cpu"


def test_an_accelerator_that_cannot_hold_the_weights_is_refused_with_both_sizes():
    with pytest.raises(
        ModelLoadError,
        match=r"A4000 has 16\.0 GiB, but weights and one page take 17\.9 GiB: use",
    ):
        device(A4000)


def test_weights_alone_do_not_fill_an_accelerator():
    with pytest.raises(ModelLoadError, match="at least 24 GB"):
        device(A10G, num_bytes=A10G.memory_bytes)


def test_before_the_weights_are_here_only_the_kind_of_accelerator_counts():
    assert device(A4000, num_bytes=0) == "cuda:0"

    with pytest.raises(ModelLoadError, match="bfloat16"):
        device(T4, num_bytes=0)
