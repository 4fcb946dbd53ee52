"""Memory plans of GPUs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import handler.engine
from bench.teacher_forcing.geometry import CHANDRA, TINY
from deploy.machines.memory import GPU_MEMORY
from handler.engine.batching.memory_plan import (
    MemoryPlan,
    ModelSizes,
    Workload,
    plan_memory,
    read_model_sizes,
    require_room,
    shrunk_cache_tokens,
)
from handler.engine.batching.native import BatchingOptions
from handler.engine.device.capacity import plan_loaded_model
from handler.engine.device.graphs import Shape, list_shapes
from handler.errors import ModelLoadError
from handler.profiles import PROFILES
from handler.settings import EngineSettings

README = Path(handler.engine.__file__).parent / "README.md"
GIB = 2**30
WEIGHTS_BYTES = 17_534_247_392
HOPPER = (9, 0)


def make_list_shapes(max_verified: int = 64):
    def list_shapes_of_step(max_rows: int) -> list[Shape]:
        return list_shapes(max_rows, max_drafts=8, max_verified=max_verified)

    return list_shapes_of_step


@pytest.fixture(scope="module")
def sizes() -> ModelSizes:
    return read_model_sizes(CHANDRA.config(), WEIGHTS_BYTES)


WORKLOAD = Workload(
    max_pixels=3072 * 2048,
    max_output_tokens=8192,
    expected_output_tokens=500,
    prefill_tokens=1024,
    draft_tokens=8,
    shapes_for=make_list_shapes(),
)


def plan_gpu(sizes: ModelSizes, gib: float, **changes: object) -> MemoryPlan:
    return plan_memory(
        sizes,
        replace(WORKLOAD, **changes),  # type: ignore[arg-type]
        available_bytes=int(gib * GIB),
        capability=(8, 9),
        is_loaded=False,
    )


@pytest.mark.parametrize(
    ("gib", "tokens", "pages"),
    [(21.98, 26_000, 6), (44.39, 188_000, 46), (79.10, 440_000, 64)],
    ids=["A10G", "L40S", "80 GB"],
)
def test_supported_gpus_have_room_for_many_pages(sizes, gib, tokens, pages):
    result = plan_gpu(sizes, gib)

    assert result.cache_tokens == pytest.approx(tokens, rel=0.04)
    assert result.num_pages == pages
    require_room(result, "the GPU")


@pytest.mark.parametrize(
    ("label", "gpu", "capability"),
    [
        ("A10G, L4 (24 GB)", "A10G", (8, 6)),
        ("A10G, L4 (24 GB)", "L4", (8, 9)),
        ("A100 (40 GB)", "A100", (8, 0)),
        ("L40S (48 GB)", "L40S", (8, 9)),
        ("A100 (80 GB)", "A100 80 GB", (8, 0)),
        ("H100 (80 GB)", "H100", HOPPER),
        ("H200 (141 GB)", "H200", HOPPER),
        ("B200 (180 GB)", "B200", (10, 0)),
    ],
    ids=str,
)
def test_readme_has_the_plan_of_each_gpu(sizes, label, gpu, capability):
    result = plan_memory(
        sizes,
        replace(
            WORKLOAD, shapes_for=make_list_shapes(160 if capability >= HOPPER else 64)
        ),
        available_bytes=int(GPU_MEMORY[gpu].usable_gib * GIB),
        capability=capability,
        is_loaded=False,
    )
    cuda_bytes = result.context_bytes + result.workspace_bytes
    gib = [
        f"{num_bytes / GIB:.1f}"
        for num_bytes in (
            result.available_bytes - result.weights_bytes - cuda_bytes,
            result.graph_bytes,
            result.image_bytes,
            result.margin_bytes,
            result.cache_bytes,
        )
    ]

    table = README.read_text().splitlines()
    (row,) = [line for line in table if line.startswith(f"| {label} |")]

    cells = [label, f"{gib[0]} GiB", *gib[1:]]
    cells += [f"{round(result.cache_tokens, -3):,}", str(result.num_pages)]
    assert row == f"| {' | '.join(cells)} |"


def test_plan_adds_up_to_the_available_memory(sizes):
    result = plan_gpu(sizes, 44.39)

    rest = result.available_bytes - result.beside_cache_bytes - result.cache_bytes
    assert 0 <= rest < result.bytes_per_token


def test_loaded_weights_are_not_counted_again(sizes):
    total = plan_gpu(sizes, 44.39)
    free = total.available_bytes - total.weights_bytes - total.context_bytes

    loaded = plan_memory(
        sizes, WORKLOAD, available_bytes=free, capability=(8, 9), is_loaded=True
    )

    assert loaded.cache_tokens == total.cache_tokens


def test_hopper_has_larger_workspaces(sizes):
    older, newer = (
        plan_memory(
            sizes, WORKLOAD, available_bytes=80 * GIB, capability=kind, is_loaded=True
        )
        for kind in ((8, 0), HOPPER)
    )

    assert older.workspace_bytes == 2 * 8_519_680
    assert newer.workspace_bytes == 2 * 32 * 2**20


@pytest.mark.parametrize("gib", [10, 18, 19, 19.3])
def test_cache_below_one_largest_page_is_rejected(sizes, gib):
    result = plan_gpu(sizes, gib)

    with pytest.raises(ModelLoadError, match=r"7,676.*more memory.*max_side.*smaller"):
        require_room(result, "T4")


def test_largest_page_has_room_for_its_expected_output():
    result = plan_loaded_model(
        CHANDRA.config(),
        EngineSettings(),
        PROFILES["chandra"],
        make_list_shapes(),
        available_bytes=60 * GIB,
        capability=HOPPER,
    )

    num_output_tokens = BatchingOptions().expected_output_tokens + 8
    assert result.page_tokens == 6144 + 1024 + num_output_tokens


def test_small_max_side_makes_room_on_a_small_gpu():
    too_small, sufficient = (
        plan_loaded_model(
            CHANDRA.config(),
            EngineSettings(max_side=max_side),
            PROFILES["chandra"],
            make_list_shapes(),
            available_bytes=int(2.5 * GIB),
            capability=(8, 6),
        )
        for max_side in (None, 1600)
    )

    assert not too_small.has_room
    require_room(sufficient, "A10G")


def test_cache_size_from_the_settings_is_used(sizes):
    result = plan_gpu(sizes, 44.39, kv_cache_tokens=50_000)

    require_room(result, "L40S")
    assert result.cache_tokens == 50_000
    assert result.num_pages == 12


def test_error_of_a_too_large_cache_names_the_largest_size(sizes):
    result = plan_gpu(sizes, 21.98, kv_cache_tokens=50_000)

    with pytest.raises(ModelLoadError, match=f"room for {result.room_tokens:,}"):
        require_room(result, "A10G")
    assert result.room_tokens == pytest.approx(25_700, rel=0.01)


def test_cache_size_from_the_settings_must_hold_a_page(sizes):
    result = plan_gpu(sizes, 44.39, kv_cache_tokens=5000)

    with pytest.raises(ModelLoadError, match=r"5,000.*at least"):
        require_room(result, "L40S")


def test_cache_is_no_larger_than_its_pages_can_use(sizes):
    assert plan_gpu(sizes, 79.1, num_pages=2).cache_tokens == 2 * (
        6144 + 1024 + 8192 + 8
    )


def test_mini_leaves_most_of_a_gpu_free():
    result = plan_loaded_model(
        TINY.config(),
        EngineSettings(),
        PROFILES["mini"],
        make_list_shapes(),
        available_bytes=79 * GIB,
        capability=HOPPER,
    )

    require_room(result, "H100")
    assert result.cache_bytes <= GIB
    assert result.beside_cache_bytes < GIB
    assert result.num_pages == 64


def test_larger_cache_runs_more_pages(sizes):
    pages = [plan_gpu(sizes, gib).num_pages for gib in (21, 24, 30, 40, 60)]

    assert pages == sorted(pages)
    assert pages[0] < 5
    assert pages[-1] == 64


@pytest.mark.parametrize(
    ("tokens", "page", "image", "smaller"),
    [
        (100_000, 7676, 9000, 85_000),
        (20_000, 7676, 9000, 11_000),
        (15_000, 7676, 9000, 7676),
        (7676, 7676, 9000, None),
        (5000, 7676, 9000, None),
        (1, 1, 0, None),
    ],
)
def test_shrunk_cache_still_holds_a_page(tokens, page, image, smaller):
    result = shrunk_cache_tokens(tokens, page_tokens=page, image_tokens=image)

    assert result == smaller
