"""The memory plan of `deploy` agrees with the engine's."""

from __future__ import annotations

import pytest

from bench.geometry import CHANDRA
from deploy.checks import checks_of
from deploy.machines.catalogue import INSTANCES
from deploy.machines.memory import GPU_MEMORY, memory_lines, memory_plan_of
from handler.engine.graphs import Shape, shapes
from handler.engine.memory_plan import Workload, plan_memory, sizes_from
from handler.profiles import PROFILES
from tests.deploy.accounts import configured

GIB = 2**30
CAPABILITIES = {
    "T4": (7, 5),
    "A10G": (8, 6),
    "L4": (8, 9),
    "L40S": (8, 9),
    "RTX PRO 6000": (12, 0),
    "A100": (8, 0),
    "H100": (9, 0),
}
KINDS = {instance.gpu.name: name for name, instance in INSTANCES.items()}


def test_every_gpu_of_the_catalogue_has_a_plan():
    assert set(KINDS) == set(GPU_MEMORY) == set(CAPABILITIES)


@pytest.mark.parametrize("max_side", [None, 1600])
@pytest.mark.parametrize("gpu", GPU_MEMORY)
def test_a_plan_agrees_with_the_engines(gpu, max_side):
    capability = CAPABILITIES[gpu]
    profile = PROFILES["chandra"]

    def shapes_for(max_rows: int) -> list[Shape]:
        most = 160 if capability >= (9, 0) else 64
        return shapes(max_rows, max_drafts=8, max_verified=most)

    engine = plan_memory(
        sizes_from(CHANDRA.config(), 17_500_000_000),
        Workload(
            max_pixels=max_side**2 if max_side else profile.sizing.max_pixels,
            max_output_tokens=profile.max_output_tokens,
            expected_output_tokens=500,
            prefill_tokens=1024,
            draft_tokens=8,
            shapes_for=shapes_for,
        ),
        available_bytes=int(GPU_MEMORY[gpu].usable_gib * GIB),
        capability=capability,
        is_loaded=False,
    )
    environment = {"CHANDRA_MAX_SIDE": str(max_side)} if max_side else {}
    plan = memory_plan_of(KINDS[gpu], 17.5, environment)

    assert plan is not None
    assert plan.page_tokens == engine.page_tokens
    assert plan.image_bytes == engine.image_bytes
    assert plan.cuda_bytes == engine.context_bytes + engine.workspace_bytes
    assert plan.room_tokens == pytest.approx(engine.room_tokens, rel=0.01, abs=100)
    if engine.has_room and max_side is None:
        assert plan.num_pages == engine.num_sequences


@pytest.mark.parametrize(
    ("kind", "tokens", "pages"),
    [("ml.g5.2xlarge", 26_000, 6), ("ml.g6e.2xlarge", 188_000, 47),
     ("ml.p5.4xlarge", 440_000, 64)],
)  # fmt: skip
def test_supported_machines_have_room_for_many_pages(kind, tokens, pages):
    plan = memory_plan_of(kind, 17.5, {})

    assert plan is not None
    assert plan.cache_tokens == pytest.approx(tokens, rel=0.06)
    assert plan.num_pages == pages


def test_an_unknown_machine_is_reported():
    lines = memory_lines(["ml.g6.4xlarge"], 17.5, {})

    assert lines[1] == "ml.g6.4xlarge  not known here"


def findings(**tables):
    return checks_of(configured(**tables))


def test_weights_that_leave_no_room_for_a_page_are_refused():
    (finding,) = findings(
        endpoint={"instance_types": ["ml.g5.2xlarge"]}, model={"weights_gb": 20.5}
    )

    assert finding.is_fatal
    assert "where the largest page takes 7,676" in finding.sentence
    assert "ml.g6e.2xlarge" in (finding.hint or "")


def test_a_cache_for_one_largest_page_is_a_note():
    (finding,) = findings(
        endpoint={"instance_types": ["ml.g5.2xlarge"]}, model={"weights_gb": 19.5}
    )

    assert not finding.is_fatal
    assert "one after the other" in finding.sentence


@pytest.mark.parametrize("tokens", ["5000", "90000"])
def test_a_cache_that_does_not_fit_is_refused(tokens):
    (finding,) = findings(
        endpoint={
            "instance_types": ["ml.g5.2xlarge"],
            "environment": {"CHANDRA_KV_CACHE_TOKENS": tokens},
        }
    )

    assert finding.is_fatal
    assert f"CHANDRA_KV_CACHE_TOKENS is {int(tokens):,}" in finding.sentence
