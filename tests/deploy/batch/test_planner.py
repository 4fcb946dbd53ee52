"""Which calls start a job, held to what AWS says of its requests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import pytest

from deploy.batch.job import (
    TransformJob,
    TransformState,
    Work,
    transform_model_from,
)
from deploy.batch.planner import find_or_next_job, start, stop
from deploy.errors import ConflictError
from deploy.machines.catalogue import TRANSFORM_AMIS
from deploy.plan.actions import Call
from tests.deploy.accounts import IDENTITY, configured


def job(*keys, **changes):
    work = tuple(Work(key, f"etag of {key}", key, 1000) for key in keys or ("a.pdf",))
    tables = changes.pop("tables", {})
    config = configured(**tables)
    return replace(
        TransformJob(
            owner=config.name,
            model=transform_model_from(config, IDENTITY),
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
class Jobs:
    """An account of jobs by name."""

    states: dict[str, TransformState] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)

    def has_model(self, name):
        return name in self.models

    def transform(self, name):
        return self.states.get(name)


def state(wanted, status, *, is_ours=True):
    return TransformState(
        name=wanted.name,
        status=status,
        model=wanted.model.name,
        manifest=None,
        output=wanted.output,
        accept=wanted.accept,
        content_type=wanted.content_type,
        instance_type=wanted.instance_type,
        instance_count=1,
        is_ours=is_ours,
    )


def there(wanted, status, **more):
    return Jobs({wanted.name: state(wanted, status, **more)})


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
def test_a_job_from_nothing_is_valid(changes, refusals):
    actions = start(job(**changes), Jobs())

    calls = [action for action in actions if isinstance(action, Call)]
    assert [call.operation for call in calls] == [
        "create_model",
        "put_object",
        "put_object",
        "create_transform_job",
    ]
    assert [refusals(call) for call in calls] == [[]] * 4


def test_a_model_that_is_there_is_not_made_again():
    wanted = job()

    actions = start(wanted, Jobs(models={wanted.model.name}))

    assert next(a.operation for a in actions if isinstance(a, Call)) == "put_object"


def test_the_list_holds_the_objects_and_nothing_beside_them():
    assert json.loads(job("a.pdf", "sub/b.pdf").manifest) == [
        {"prefix": "s3://inbox/scans/"},
        "a.pdf",
        "sub/b.pdf",
    ]


def test_no_model_of_a_job_has_a_source_that_batch_transform_refuses():
    for weights in ("tar", "pull"):
        model = job(tables={"transform": {"weights": weights}}).model
        assert "ModelDataSource" not in model.request["PrimaryContainer"]


def test_a_deadline_of_the_endpoint_is_none_of_a_job():
    environment = {"CHANDRA_DEADLINE_SECONDS": "50", "CHANDRA_MAX_PAGES": "10"}

    model = job(tables={"endpoint": {"environment": environment}}).model

    assert "CHANDRA_DEADLINE_SECONDS" not in model.environment
    assert model.environment["CHANDRA_MAX_PAGES"] == "10"


def test_the_name_is_that_of_the_objects_and_how_they_are_read():
    plain = job("a.pdf", "b.pdf")

    assert job("b.pdf", "a.pdf").name == plain.name
    assert job("a.pdf", "b.pdf", instance_count=5).name == plain.name
    assert job("a.pdf", "b.pdf", work=plain.work[:1]).name == plain.name
    assert job("a.pdf").name != plain.name
    assert job("a.pdf", "b.pdf", accept="text/html").name != plain.name
    assert job("a.pdf", "b.pdf", of="ocr-12345678").name != plain.name
    changed = (replace(plain.requested[0], etag="changed"), plain.requested[1])
    assert job(requested=changed).name != plain.name


@pytest.mark.parametrize("status", ["InProgress", "Completed", "Failed"])
def test_what_was_asked_for_before_is_found(status):
    wanted = job()

    found = find_or_next_job(wanted, there(wanted, status))

    assert isinstance(found, TransformState)
    assert found.status == status


def test_what_was_stopped_is_gone_on_from():
    wanted = job()

    found = find_or_next_job(wanted, there(wanted, "Stopped"))

    assert isinstance(found, TransformJob)
    assert (found.attempt, found.name == wanted.name) == (2, False)


def test_force_starts_over_but_never_beside_a_job_that_runs():
    wanted = job()

    ended = find_or_next_job(wanted, there(wanted, "Completed"), is_forced=True)
    running = find_or_next_job(wanted, there(wanted, "InProgress"), is_forced=True)

    assert isinstance(ended, TransformJob)
    assert isinstance(running, TransformState)


def test_a_job_that_is_being_stopped_is_waited_for():
    wanted = job()

    with pytest.raises(ConflictError, match="being stopped"):
        find_or_next_job(wanted, there(wanted, "Stopping"))


def test_somebody_elses_job_is_left_alone():
    wanted = job()

    with pytest.raises(ConflictError, match="not this deployment's"):
        find_or_next_job(wanted, there(wanted, "Completed", is_ours=False))
    with pytest.raises(ConflictError, match="not this deployment's"):
        stop(state(wanted, "InProgress", is_ours=False))


def test_only_what_runs_is_stopped(refusals):
    wanted = job()

    (call,) = stop(state(wanted, "InProgress"))

    assert isinstance(call, Call)
    assert refusals(call) == []
    assert stop(state(wanted, "Completed")) == []
    assert stop(state(wanted, "Stopping")) == []
