"""The memory plan of `deploy` agrees with the engine's."""

from __future__ import annotations

import pytest

from bench.teacher_forcing.geometry import CHANDRA
from deploy.checks import config_findings
from deploy.machines.catalogue import INSTANCES
from deploy.machines.memory import (
    FAMILY_GPUS,
    GPU_MEMORY,
    gpu_memory_plan,
    memory_lines,
    memory_plan_of,
)
from handler.engine.batching.memory_plan import CONTEXT_BYTES
from handler.engine.device.capacity import (
    estimate_verified_tokens,
    plan_loaded_model,
)
from handler.engine.device.graphs import Shape, list_shapes
from handler.profiles import PROFILES
from handler.settings import read_settings
from tests.deploy.accounts import configured

GIB = 2**30
MODEL = "datalab-to/chandra"
CAPABILITIES = {
    "T4": (7, 5),
    "A10G": (8, 6),
    "L4": (8, 9),
    "L40S": (8, 9),
    "RTX PRO 6000": (12, 0),
    "A100": (8, 0),
    "A100 80 GB": (8, 0),
    "H100": (9, 0),
    "H200": (9, 0),
    "B200": (10, 0),
}
ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"CHANDRA_MAX_SIDE": "1600"},
    {"CHANDRA_PREFILL_TOKENS": "256"},
    {"CHANDRA_PREFILL_TOKENS": "8192"},
    {"CHANDRA_DRAFT_TOKENS": "none"},
    {"CHANDRA_DRAFT_TOKENS": "1"},
    {"CHANDRA_DRAFT_TOKENS": "24"},
    {"CHANDRA_MAX_SEQUENCES": "1"},
    {"CHANDRA_MAX_SEQUENCES": "5"},
    {"CHANDRA_MAX_SEQUENCES": "96"},
    {"CHANDRA_KV_CACHE_TOKENS": "20000"},
    {
        "CHANDRA_MAX_SIDE": "2000",
        "CHANDRA_PREFILL_TOKENS": "4096",
        "CHANDRA_DRAFT_TOKENS": "12",
        "CHANDRA_MAX_SEQUENCES": "20",
    },
]


def test_every_gpu_of_the_catalogue_has_a_plan():
    catalogued = {instance.gpu.name for instance in INSTANCES.values()}

    assert (
        catalogued | set(FAMILY_GPUS.values()) == set(GPU_MEMORY) == set(CAPABILITIES)
    )


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
@pytest.mark.parametrize("gpu", GPU_MEMORY)
def test_plan_equals_the_engines_plan(gpu, environment):
    capability = CAPABILITIES[gpu]
    _, settings = read_settings({}, environment)

    def shapes_for(max_rows: int) -> list[Shape]:
        max_verified = estimate_verified_tokens(capability)
        drafts = settings.draft_tokens or 0
        return list_shapes(max_rows, max_drafts=drafts, max_verified=max_verified)

    plan = gpu_memory_plan(gpu, 17.5, environment)
    # The engine starts from the memory that weights and CUDA context leave free.
    beside = 17_500_000_000 + CONTEXT_BYTES
    engine = plan_loaded_model(
        CHANDRA.config(),
        settings,
        PROFILES["chandra"],
        shapes_for,
        available_bytes=int(GPU_MEMORY[gpu].usable_gib * GIB) - beside,
        capability=capability,
    )

    assert plan.page_tokens == engine.page_tokens
    assert plan.cuda_bytes == CONTEXT_BYTES + engine.workspace_bytes
    assert plan.graph_bytes == engine.graph_bytes
    assert plan.image_bytes == engine.image_bytes
    assert plan.margin_bytes == engine.margin_bytes
    assert plan.room_tokens == engine.room_tokens
    assert plan.cache_tokens == engine.cache_tokens
    assert plan.num_pages == (engine.num_pages if engine.has_room else 0)


@pytest.mark.parametrize(
    ("kind", "gpu"),
    [
        ("ml.g5.2xlarge", "A10G"),
        ("ml.p4d.24xlarge", "A100"),
        ("ml.p4de.24xlarge", "A100 80 GB"),
        ("ml.p5en.48xlarge", "H200"),
        ("ml.p6-b200.48xlarge", "B200"),
    ],
)
def test_a_machine_without_a_price_has_a_plan_too(kind, gpu):
    assert memory_plan_of(kind, 17.5, {}) == gpu_memory_plan(gpu, 17.5, {})


@pytest.mark.parametrize(
    ("kind", "tokens", "pages"),
    [
        ("ml.g5.2xlarge", 26_000, 6),
        ("ml.g6e.2xlarge", 188_000, 47),
        ("ml.p5.4xlarge", 440_000, 64),
    ],
)
def test_supported_machines_have_room_for_many_pages(kind, tokens, pages):
    plan = memory_plan_of(kind, 17.5, {})

    assert plan is not None
    assert plan.cache_tokens == pytest.approx(tokens, rel=0.06)
    assert plan.num_pages == pages


def test_an_unknown_machine_is_reported():
    lines = memory_lines(["ml.g6.4xlarge"], MODEL, 17.5, {})

    assert lines[1] == "ml.g6.4xlarge  not known here"


@pytest.mark.parametrize(
    ("model", "environment"),
    [
        ("datalab-to/chandra-ocr-2", {}),
        (MODEL, {"MODEL_PROFILE": "chandra-2"}),
        (MODEL, {"MODEL_PROFILE": "mini"}),
        (MODEL, {"CHANDRA_ENGINE": "generate"}),
    ],
)
def test_only_the_native_engine_of_chandra_1_has_a_plan(model, environment):
    [line] = memory_lines(["ml.g6e.2xlarge"], model, 10.6, environment)

    assert "no memory plan" in line


def findings_of(**tables):
    return config_findings(configured(**tables))


def test_a_machine_without_a_price_is_checked_for_memory():
    machine = {"instance_types": ["ml.p5en.48xlarge"]}

    (fitting,) = findings_of(endpoint=machine)
    (rejected,) = findings_of(endpoint=machine, model={"weights_gb": 160})

    assert not fitting.is_fatal
    assert "price" in fitting.sentence
    assert rejected.is_fatal
    assert "H200 with 139.7 GiB" in rejected.sentence


@pytest.mark.parametrize(
    ("name", "value"),
    [("CHANDRA_PREFILL_TOKENS", "32768"), ("CHANDRA_DRAFT_TOKENS", "19000")],
)
def test_a_setting_that_leaves_no_room_is_refused(name, value):
    (finding,) = findings_of(
        endpoint={
            "instance_types": ["ml.g5.2xlarge"],
            "environment": {name: value},
        }
    )

    assert finding.is_fatal


def test_weights_that_leave_no_room_for_a_page_are_refused():
    (finding,) = findings_of(
        endpoint={"instance_types": ["ml.g5.2xlarge"]}, model={"weights_gb": 20.5}
    )

    assert finding.is_fatal
    assert "where the largest page takes 7,676" in finding.sentence
    assert "ml.g6e.2xlarge" in (finding.hint or "")


def test_a_cache_for_one_largest_page_is_a_note():
    (finding,) = findings_of(
        endpoint={"instance_types": ["ml.g5.2xlarge"]}, model={"weights_gb": 19.5}
    )

    assert not finding.is_fatal
    assert "one after the other" in finding.sentence


@pytest.mark.parametrize("tokens", ["5000", "90000"])
def test_a_cache_that_does_not_fit_is_refused(tokens):
    (finding,) = findings_of(
        endpoint={
            "instance_types": ["ml.g5.2xlarge"],
            "environment": {"CHANDRA_KV_CACHE_TOKENS": tokens},
        }
    )

    assert finding.is_fatal
    assert f"CHANDRA_KV_CACHE_TOKENS is {int(tokens):,}" in finding.sentence


@pytest.mark.parametrize(
    ("model", "environment"),
    [
        ({"id": "datalab-to/chandra-ocr-2", "weights_gb": 10.6}, {}),
        ({}, {"CHANDRA_ENGINE": "generate"}),
    ],
)
def test_models_without_a_plan_pass(model, environment):
    endpoint = {
        "instance_types": ["ml.g5.2xlarge"],
        "environment": {"CHANDRA_KV_CACHE_TOKENS": "900000", **environment},
    }

    assert not any(
        finding.is_fatal for finding in findings_of(model=model, endpoint=endpoint)
    )


def test_weights_without_a_plan_need_room_for_a_page():
    model = {"id": "datalab-to/chandra-ocr-2", "weights_gb": 21.0}
    endpoint = {"instance_types": ["ml.g5.2xlarge"]}

    [finding] = [f for f in findings_of(model=model, endpoint=endpoint) if f.is_fatal]

    assert "a page some more" in finding.sentence
