"""Times of the engine's start and terms of its memory."""

from __future__ import annotations

from bench.device.serving import CheckTimes, compare_memory
from bench.teacher_forcing.geometry import CHANDRA
from handler.engine.device.capacity import plan_loaded_model
from handler.engine.fallbacks import Check
from handler.settings import EngineSettings

GIB = 2**30


def memory_bytes(**sizes: float) -> dict[str, int]:
    default_gib = {
        "allocated": 16.5,
        "reserved": 16.6,
        "peak_allocated": 16.5,
        "peak_reserved": 16.6,
        "free": 5.0,
        "outside": 0.5,
    }
    return {name: round(size * GIB) for name, size in (default_gib | sizes).items()}


def test_each_check_has_the_time_of_all_its_tries():
    now = iter([1.0, 3.0, 4.0, 9.0, 10.0, 12.0])
    times = CheckTimes(lambda: next(now))

    for check in (Check.ATTENTION, None, Check.CUDA_GRAPHS, None, Check.CUDA_GRAPHS):
        times(check)
    times(None)

    assert times.seconds == {"attention": 2.0, "cuda_graphs": 7.0}


def test_memory_is_compared_term_by_term():
    plan = plan_loaded_model(
        CHANDRA.config(),
        EngineSettings(),
        CHANDRA.profile,
        lambda max_rows: (),
        available_bytes=5 * GIB,
        capability=(8, 6),
    )

    terms = compare_memory(
        plan,
        weights_bytes=16 * GIB,
        before=memory_bytes(),
        cached=memory_bytes(allocated=19.0, free=2.0),
        recorded=memory_bytes(allocated=19.1, free=1.75),
        started=memory_bytes(allocated=19.0, reserved=19.25, outside=0.5),
        after=memory_bytes(peak_allocated=20.0, peak_reserved=20.5, outside=0.625),
    )

    measured = {name: term["measured"] / GIB for name, term in terms.items()}
    assert measured == {
        "weights": 16.5,
        "context and kernels": 0.625,
        "cache": 2.5,
        "graphs and workspaces": 0.25,
        "largest image": 1.0,
        "fragments": 0.25,
    }
    assert terms["cache"]["planned"] == plan.cache_bytes
    assert terms["largest image"]["planned"] == plan.image_bytes
