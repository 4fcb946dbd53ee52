"""Commands that lose their connection at one call and are then run again."""

from __future__ import annotations

import pytest

from tests.deploy.accounts import OTHER_IMAGE

pytestmark = pytest.mark.usefixtures("staged")


UPDATE_CALLS = 4
DESTROY_CALLS = 3


@pytest.mark.parametrize("number", range(1, UPDATE_CALLS + 1))
def test_deploy_succeeds_after_a_crash_of_an_update(chandra, cloud, project, number):
    chandra("deploy")
    before = cloud.machines["ocr"].config
    project(image=OTHER_IMAGE)
    cloud.calls.clear()
    cloud.crash_after = number

    crashed = chandra("deploy")
    cloud.crash_after = None
    again = chandra("deploy")

    assert crashed.status == 1, crashed.err
    assert again.status == 0, again.err
    assert cloud.machines["ocr"].status == "InService"
    assert cloud.machines["ocr"].config != before


def test_crashes_cover_all_calls_of_an_update(chandra, cloud, project):
    chandra("deploy")
    project(image=OTHER_IMAGE)
    cloud.calls.clear()

    chandra("deploy")

    assert len(cloud.changes) == UPDATE_CALLS


@pytest.mark.parametrize("number", range(1, DESTROY_CALLS + 1))
def test_destroy_succeeds_after_a_crash(chandra, cloud, number):
    chandra("deploy")
    cloud.calls.clear()
    cloud.crash_after = number

    crashed = chandra("destroy")
    cloud.crash_after = None
    again = chandra("destroy")

    assert crashed.status == 1, crashed.err
    assert again.status == 0, again.err
    assert cloud.machines == {}
    assert sorted(cloud.variants) == []
    assert "nothing carries" in chandra("destroy").out


NUM_CALLS = 4


@pytest.mark.parametrize("number", range(1, NUM_CALLS + 1))
@pytest.mark.parametrize("moment", ["crash_before", "crash_after"])
def test_deploy_succeeds_after_a_crash_of_a_deploy(chandra, cloud, number, moment):
    setattr(cloud, moment, number)
    crashed = chandra("deploy")
    setattr(cloud, moment, None)

    again = chandra("deploy")
    cloud.calls.clear()
    twice = chandra("deploy")

    assert crashed.status == 1, crashed.err
    assert "connection lost" in crashed.err
    assert again.status == 0, again.err
    assert cloud.machines["ocr"].status == "InService"
    assert len(sorted(cloud.variants)) == 1
    assert twice.status == 0
    assert cloud.changes == []


def test_crashes_cover_all_calls_of_a_deploy(chandra, cloud):
    chandra("deploy")

    assert len(cloud.changes) == NUM_CALLS
