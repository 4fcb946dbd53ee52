"""Command `plan`: changes of settings, checks and offline plans."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.usefixtures("staged")


def test_plan_shows_live_and_wanted_settings(chandra, cloud, project):
    chandra("deploy")
    project("[endpoint]\ninstance_count = 2\n")

    ran = chandra("plan")

    assert ran.status == 0, ran.err
    assert "changes:\n  instance_count: 1 -> 2\n" in ran.out
    assert "2 x ml.g6e.2xlarge: $5.60 an hour" in ran.out
    assert "offline" not in ran.out


def test_plan_of_the_live_config_has_no_changes(chandra):
    chandra("deploy")

    assert "no changes" in chandra("plan").out


def test_plan_reports_a_quota_of_zero(chandra, cloud):
    cloud.limits = {"ml.g6e.2xlarge": 0}

    ran = chandra("plan")

    assert ran.status == 1
    assert "refused: this account may run 0 ml.g6e.2xlarge" in ran.out


def test_a_plan_shows_how_memory_is_divided(chandra):
    ran = chandra("plan", "--json")

    memory = json.loads(ran.out)["memory"]["ml.g6e.2xlarge"]
    assert (memory["gpu"], memory["pages"]) == ("L40S", 47)
    assert memory["page_tokens"] == 7676


def test_plan_rejects_a_gpu_without_room_for_a_page(chandra, project):
    project('[endpoint]\ninstance_types = ["ml.g4dn.xlarge"]\n')

    ran = chandra("plan", "--offline")

    assert ran.status == 1
    assert "T4" in ran.out
    assert "what is left holds 0 tokens, where the largest page takes" in ran.out


def test_doctor_rejects_a_gpu_without_room_for_a_page(chandra, project):
    project('[endpoint]\ninstance_types = ["ml.g4dn.xlarge"]\n')

    ran = chandra("doctor")

    assert ran.status == 1
    assert "wrong ml.g4dn.xlarge" in ran.out or "wrong machines" in ran.out
    assert "where the largest page takes 7,676" in ran.out


def test_plan_shows_no_equal_settings(chandra, project):
    chandra("deploy")
    project("[endpoint]\ninstance_count = 2\n")

    changes = chandra("plan", "--json").json["changes"]

    assert changes == [{"setting": "instance_count", "live": "1", "wanted": "2"}]


def test_a_plan_lists_what_deploy_would_revert(chandra):
    chandra("deploy")
    chandra("update", "--env", "A=1")

    out = chandra("plan").out

    assert "has set:\n  environment.A: 1 -> none\n" in out


def test_offline_plan_marks_unknown_values(chandra):
    chandra("deploy")

    as_text = chandra("plan", "--offline")
    as_json = chandra("plan", "--offline", "--json").json

    assert "would create endpoint config ocr-????????\n" in as_text.out
    assert "(????????: a digest that depends on account, not known yet)" in as_text.out
    assert as_json["unknown"] == ["account"]
    assert "000000000000" not in json.dumps(as_json)


def test_offline_plan_with_a_role_knows_the_config_name(chandra, project):
    path = project()
    role = 'role = "arn:aws:iam::123456789012:role/ocr-execution"\n'
    path.write_text(role + path.read_text())

    offline, online = chandra("plan", "--offline"), chandra("plan")

    config = online.out.splitlines()[0]
    assert offline.out.splitlines()[0] == config
    assert "????" not in offline.out
