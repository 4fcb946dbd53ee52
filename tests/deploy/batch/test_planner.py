"""Calls that start a job, checked against the service models of AWS."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import pytest

from deploy.batch.job import (
    TransformJob,
    TransformState,
    Work,
    build_transform_model,
)
from deploy.batch.planner import find_or_next_job, plan_start, plan_stop
from deploy.errors import ConflictError
from deploy.machines.catalogue import TRANSFORM_AMIS
from deploy.plan.actions import Call
from tests.deploy.accounts import IDENTITY, configured


def build_job(*keys, **changes):
    work = tuple(Work(key, f"etag of {key}", key, 1000) for key in keys or ("a.pdf",))
    tables = changes.pop("tables", {})
    config = configured(**tables)
    return replace(
        TransformJob(
            owner=config.name,
            model=build_transform_model(config, IDENTITY),
            bucket="weights",
            prefix="s3://inbox/scans/",
            requested=work,
            work=work,
            output="s3://results/md/",
            accept="text/markdown",
            content_type="application/pdf",
            instance_type="ml.g6e.2xlarge",
            timeout_seconds=3600,
            max_retries=1,
            ami="al2-ami-sagemaker-batch-gpu-535",
        ),
        **changes,
    )


@dataclass
class FakeJobs:
    """Account with jobs by name."""

    states: dict[str, TransformState] = field(default_factory=dict)

    def find_job(self, name):
        return self.states.get(name)


def build_state(job, status, *, is_ours=True):
    return TransformState(
        name=job.name,
        status=status,
        model=job.model.name,
        manifest=None,
        output=job.output,
        accept=job.accept,
        content_type=job.content_type,
        instance_type=job.instance_type,
        instance_count=1,
        is_ours=is_ours,
    )


def account_with_job(job, status, **more):
    return FakeJobs({job.name: build_state(job, status, **more)})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"instance_count": 100, "max_concurrent": 64, "kms_key": "alias/ocr"},
        {"tables": {"name": "a" * 54}, "tags": {"team": "ocr"}},
        {"environment": {f"A{n}": "1" for n in range(16)}},
        {"tables": {"transform": {"weights": "pull"}}},
        {"tables": {"network": {"subnets": ["subnet-1"], "security_groups": ["sg"]}}},
        *({"ami": ami} for ami in TRANSFORM_AMIS),
    ],
)
def test_new_job_is_valid_for_aws(changes, refusals):
    actions = plan_start(build_job(**changes), has_model=False)

    calls = [action for action in actions if isinstance(action, Call)]
    assert [call.operation for call in calls] == [
        "create_model",
        "put_object",
        "put_object",
        "create_transform_job",
    ]
    assert [refusals(call) for call in calls] == [[]] * 4


def test_existing_model_is_not_created_again():
    job = build_job()

    actions = plan_start(job, has_model=True)

    assert next(a.operation for a in actions if isinstance(a, Call)) == "put_object"


def test_manifest_lists_exactly_the_objects():
    assert json.loads(build_job("a.pdf", "sub/b.pdf").manifest) == [
        {"prefix": "s3://inbox/scans/"},
        "a.pdf",
        "sub/b.pdf",
    ]


def test_model_of_job_has_no_model_data_source():
    for weights in ("tar", "pull"):
        model = build_job(tables={"transform": {"weights": weights}}).model
        assert "ModelDataSource" not in model.request["PrimaryContainer"]


def test_endpoint_deadline_does_not_apply_to_jobs():
    environment = {"CHANDRA_DEADLINE_SECONDS": "50", "CHANDRA_MAX_PAGES": "10"}

    model = build_job(tables={"endpoint": {"environment": environment}}).model

    assert "CHANDRA_DEADLINE_SECONDS" not in model.environment
    assert model.environment["CHANDRA_MAX_PAGES"] == "10"


def test_name_depends_on_objects_and_options():
    plain = build_job("a.pdf", "b.pdf")

    assert build_job("b.pdf", "a.pdf").name == plain.name
    assert build_job("a.pdf", "b.pdf", instance_count=5).name == plain.name
    assert build_job("a.pdf", "b.pdf", work=plain.work[:1]).name == plain.name
    assert build_job("a.pdf").name != plain.name
    assert build_job("a.pdf", "b.pdf", accept="text/html").name != plain.name
    assert build_job("a.pdf", "b.pdf", retry_of="ocr-12345678").name != plain.name
    changed = (replace(plain.requested[0], etag="changed"), plain.requested[1])
    assert build_job(requested=changed).name != plain.name


@pytest.mark.parametrize("status", ["InProgress", "Completed", "Failed"])
def test_equal_earlier_job_is_found(status):
    job = build_job()

    earlier = find_or_next_job(job, account_with_job(job, status))

    assert isinstance(earlier, TransformState)
    assert earlier.status == status


def test_stopped_job_is_continued():
    job = build_job()

    earlier = find_or_next_job(job, account_with_job(job, "Stopped"))

    assert isinstance(earlier, TransformJob)
    assert (earlier.attempt, earlier.name == job.name) == (2, False)


def test_force_repeats_only_finished_jobs():
    job = build_job()

    ended = find_or_next_job(job, account_with_job(job, "Completed"), is_forced=True)
    running = find_or_next_job(job, account_with_job(job, "InProgress"), is_forced=True)

    assert isinstance(ended, TransformJob)
    assert isinstance(running, TransformState)


def test_stopping_job_is_a_conflict():
    job = build_job()

    with pytest.raises(ConflictError, match="being stopped"):
        find_or_next_job(job, account_with_job(job, "Stopping"))


def test_foreign_job_is_a_conflict():
    job = build_job()

    with pytest.raises(ConflictError, match="not this deployment's"):
        find_or_next_job(job, account_with_job(job, "Completed", is_ours=False))
    with pytest.raises(ConflictError, match="not this deployment's"):
        plan_stop(build_state(job, "InProgress", is_ours=False))


def test_only_running_jobs_are_stopped(refusals):
    job = build_job()

    (call,) = plan_stop(build_state(job, "InProgress"))

    assert isinstance(call, Call)
    assert refusals(call) == []
    assert plan_stop(build_state(job, "Completed")) == []
    assert plan_stop(build_state(job, "Stopping")) == []
