"""Number of machines and of documents at once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from deploy.batch.sizing import MB, JobWorkload, choose_machines
from deploy.errors import ConfigError
from deploy.machines.catalogue import INSTANCES, TRANSFORM_FAMILIES
from deploy.machines.throughput import Rate

RATE = Rate(0.1, 0.5)
TYPES = [name for name in INSTANCES if name.split(".")[1] in TRANSFORM_FAMILIES]


def build_workload(documents=100, pages=1000, largest=MB, longest=10):
    return JobWorkload(documents, pages, largest, longest)


def choose(workload, *, rate=RATE, kind="ml.g6e.2xlarge", **total):
    return choose_machines(
        workload, kind, rate, **{"weights_gb": 17.5, "max_instances": 10} | total
    )


@given(
    st.builds(
        build_workload,
        documents=st.integers(1, 100_000),
        pages=st.integers(1, 10_000_000),
        largest=st.integers(1, 100 * MB),
    ),
    st.sampled_from(TYPES),
)
@settings(max_examples=200, deadline=None)
def test_sizing_respects_limits_of_batch_transform(workload, kind):
    sizing = choose(workload, kind=kind)

    assert 1 <= sizing.instance_count <= min(10, workload.num_documents)
    assert sizing.max_concurrent >= 1
    assert sizing.max_payload_mb * MB >= workload.largest_bytes
    assert sizing.max_concurrent * sizing.max_payload_mb <= 100


def test_object_above_limit_is_refused():
    with pytest.raises(ConfigError, match="at most 100"):
        choose(build_workload(largest=100 * MB + 1))


def test_few_pages_take_one_machine():
    assert choose(build_workload(pages=100)).instance_count == 1


def test_more_pages_take_more_machines():
    # 0.5 pages a second for 1.75 hours are 3,150 pages.
    assert choose(build_workload(pages=3150)).instance_count == 1
    assert choose(build_workload(pages=3151)).instance_count == 2


def test_machines_are_limited_by_setting_and_documents():
    assert choose(build_workload(pages=10**6)).instance_count == 10
    assert choose(build_workload(documents=3, pages=10**6)).instance_count == 3


def test_within_hours_chooses_enough_machines():
    assert choose(build_workload(pages=9000), within_hours=1.25).instance_count == 5


def test_impossible_within_hours_is_refused():
    with pytest.raises(ConfigError, match=r"on 10 machines, not 0\.5 h"):
        choose(build_workload(pages=10**5), within_hours=0.5)


def test_unknown_speed_gives_one_machine_without_estimate():
    sizing = choose(build_workload(), rate=None)

    assert (sizing.instance_count, sizing.hours, sizing.cost) == (1, None, None)
    with pytest.raises(ConfigError, match="speed of this machine is not known"):
        choose(build_workload(), rate=None, within_hours=1)


def test_cost_counts_hours_of_all_machines():
    sizing = choose(build_workload(pages=1800), instance_count=2)

    assert sizing.hours == pytest.approx(0.25 + 0.5)
    assert sizing.cost == pytest.approx(0.75 * 2 * 2.80)


def test_concurrency_falls_with_document_length():
    pages = choose(build_workload(documents=1000, pages=1000, largest=MB // 4))
    books = choose(build_workload(documents=1000, pages=300_000, largest=MB))

    assert pages.max_concurrent > 30
    assert books.max_concurrent == 1


def test_smaller_gpu_gets_fewer_documents_at_once():
    workload = build_workload(documents=1000, pages=1000)

    large = choose(workload, kind="ml.g6e.2xlarge").max_concurrent
    small = choose(workload, kind="ml.g5.2xlarge").max_concurrent

    assert small < large
