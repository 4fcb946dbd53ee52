"""Quota of an instance type that both endpoints use."""

from __future__ import annotations

import pytest

from deploy.checks import QuotaUse, quota_findings, quota_name
from deploy.errors import AccessDeniedError
from tests.deploy.accounts import OTHER_IMAGE

# Each test makes about a hundred calls over HTTP.
pytestmark = pytest.mark.slow

KIND = "ml.g6e.2xlarge"
QUEUE = '[asynchronous]\nbucket = "exchange"\n'
QUOTAS = {quota_name(KIND): 2.0}


@pytest.fixture
def both_endpoints(staged, chandra, cloud, project, wire):
    """Deploy a real-time and an asynchronous endpoint with one machine each."""
    project(QUEUE)
    wire.call("s3", "create_bucket", Bucket="exchange")
    assert chandra("deploy").status == 0
    assert chandra("async", "deploy").status == 0


def test_machines_of_the_other_endpoint_count():
    in_use = [QuotaUse("ocr-async", {KIND: 1, "ml.g5.2xlarge": 4})]

    enough = quota_findings({KIND: 1}, QUOTAS, hint="", in_use=in_use)
    (finding,) = quota_findings({KIND: 2}, QUOTAS, hint="", in_use=in_use)

    assert enough == []
    assert finding.is_fatal
    assert finding.sentence == (
        "this account may run 2 ml.g6e.2xlarge for endpoints; 2 are requested beside 1 "
        "of endpoint ocr-async"
    )


def test_deploy_counts_machines_of_the_queue_in_the_quota(
    staged, chandra, cloud, project, wire
):
    project(QUEUE)
    wire.call("s3", "create_bucket", Bucket="exchange")
    chandra("async", "deploy")
    cloud.limits = {KIND: 1}
    cloud.calls.clear()

    ran = chandra("deploy")

    assert ran.status == 2
    assert "1 are requested beside 1 of endpoint ocr-async" in ran.err
    assert "--desired-value 2" in ran.err
    assert "stop" not in ran.err
    assert cloud.changes == []


def test_async_deploy_counts_real_time_machines_in_the_quota(
    staged, chandra, cloud, project, wire
):
    project(QUEUE)
    wire.call("s3", "create_bucket", Bucket="exchange")
    chandra("deploy")
    cloud.limits = {KIND: 1}
    cloud.calls.clear()

    ran = chandra("async", "deploy")

    assert ran.status == 2
    assert "1 are requested beside 1 of endpoint ocr" in ran.err
    assert "recreate" not in ran.err + ran.out
    assert cloud.changes == []


def test_max_instances_beyond_the_shared_quota_are_reported(
    staged, chandra, cloud, project, wire
):
    project(QUEUE)
    wire.call("s3", "create_bucket", Bucket="exchange")
    chandra("deploy")
    cloud.limits = {KIND: 2}

    ran = chandra("async", "deploy")

    assert ran.status == 0, ran.err
    assert (
        "2 are requested beside 1 of endpoint ocr (asynchronous.max_instances)"
        in ran.out
    )


def test_an_update_counts_each_machine_once(both_endpoints, chandra, cloud):
    cloud.limits = {KIND: 3}
    fits = chandra("update", "--image", OTHER_IMAGE, "--dry-run")
    cloud.limits = {KIND: 2}
    short = chandra("update", "--image", OTHER_IMAGE, "--dry-run")

    assert "may run" not in fits.out
    assert short.status == 0, short.err
    assert (
        "1 are requested beside 1 of endpoint ocr, which serves until the new ones do "
        "and 1 of endpoint ocr-async"
    ) in short.out
    assert "--desired-value 3" in short.out


def test_machines_of_another_type_are_not_counted(both_endpoints, chandra, cloud):
    cloud.limits = {"ml.g5.2xlarge": 1, KIND: 2}

    ran = chandra("update", "--instance-type", "ml.g5.2xlarge", "--dry-run")

    assert ran.status == 0, ran.err
    assert "may run" not in ran.out


def test_recreated_endpoint_is_not_counted_twice(both_endpoints, chandra, cloud):
    cloud.limits = {KIND: 2}

    ran = chandra("update", "--image", OTHER_IMAGE, "--strategy", "recreate")

    assert ran.status == 0, ran.err
    assert "may run" not in ran.out


def test_doctor_names_the_quota_that_an_update_needs(both_endpoints, chandra, cloud):
    cloud.limits = {KIND: 2}

    ran = chandra("doctor")

    assert "note  quotas: this account may run 2 ml.g6e.2xlarge" in ran.out
    assert "--desired-value 3" in ran.out


def test_unreadable_queue_is_not_counted(staged, chandra, intercept, cloud):
    """The least policy names the queue's endpoint only if the configuration has one."""
    cloud.limits = {KIND: 1}

    def deny(params):
        if params["EndpointName"] == "ocr-async":
            raise AccessDeniedError("not authorized to describe ocr-async")

    intercept("sagemaker", "DescribeEndpoint", deny)

    ran = chandra("deploy")

    assert ran.status == 0, ran.err
