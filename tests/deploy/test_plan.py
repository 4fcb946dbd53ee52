"""What is live beside what is wanted."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("staged")


def test_a_plan_shows_what_is_live_beside_what_is_wanted(chandra, cloud, project):
    chandra("deploy")
    project("[endpoint]\ninstance_count = 2\n")

    ran = chandra("plan")

    assert ran.status == 0, ran.err
    assert '-  "InitialInstanceCount": 1' in ran.out.replace("- ", "-", 1)
    assert '"InitialInstanceCount": 2' in ran.out
    assert "2 x ml.g6e.2xlarge: $5.60 an hour" in ran.out
    assert "offline" not in ran.out


def test_a_plan_of_what_is_live_already_has_no_changes(chandra):
    chandra("deploy")

    assert "no changes" in chandra("plan").out


def test_a_plan_says_that_the_quota_is_zero(chandra, cloud):
    cloud.limits = {"ml.g6e.2xlarge": 0}

    ran = chandra("plan")

    assert ran.status == 1
    assert "refused: this account may run 0 ml.g6e.2xlarge" in ran.out
