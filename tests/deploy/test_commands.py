"""What is true of every command."""

from __future__ import annotations

import json

import pytest

from deploy.cli import leaves
from tests.deploy.images import write_archive
from tests.deploy.queued import FakeQueue

ARGUMENTS = {
    "alarms": ["--create"],
    "async submit": ["FILE"],
    "dashboard": ["--create"],
    "iam": ["--create"],
    "image": ["check"],
    "init": ["--force"],
    "invoke": ["FILE"],
    "model": ["stage"],
    "rollback": ["--to", "CONFIG"],
    "schedule": ["--start", "8:00", "--stop", "19:00"],
    "transform": ["FILE", "s3://weights/results/"],
    "update": ["--instance-count", "2"],
}


@pytest.fixture
def everything(chandra, wire, cloud, project, tmp_path):
    """A deployment with all there can be of it; arguments to run each command with."""
    wire.call("s3", "create_bucket", Bucket="weights")
    project('[asynchronous]\nbucket = "weights"\n[transform]\nbuckets = ["weights"]\n')
    path = tmp_path / "chandra.toml"
    archive = str(write_archive(tmp_path / "image.tar"))
    for arguments in (
        ["iam", "--create"],
        ["image", "push", "--archive", archive, "--tag", "v1"],
        ["model", "stage", "--tar"],
        ["deploy"],
        ["alarms", "--create"],
        ["dashboard", "--create"],
        ["schedule", "--start", "08:00", "--stop", "19:00"],
        ["async", "deploy"],
    ):
        ran = chandra(*arguments)
        assert ran.status == 0, ran.err
    for name in ("uri", "revision"):
        path.write_text(path.read_text().replace(f"{name} =", f"# {name} ="))
    assert chandra("deploy").status == chandra("async", "deploy").status == 0
    (tmp_path / "page.png").write_bytes(b"\x89PNG")
    cloud.invoked = FakeQueue(wire)
    submitted = chandra("async", "submit", str(tmp_path / "page.png"))
    assert submitted.status == 0, submitted.err
    cloud.invoked = lambda environ, body: ("200 OK", [], b"# Title")
    places = {
        "FILE": str(tmp_path / "page.png"),
        "CONFIG": cloud.machines["ocr"].config,
    }

    def arguments_of(words):
        name = " ".join(words)
        return [*words, *(places.get(a, a) for a in ARGUMENTS.get(name, ()))]

    return arguments_of


def test_with_json_standard_output_is_one_value(everything, chandra):
    odd = {}
    for command in leaves():
        ran = chandra(*everything(command), "--json", "--dry-run")
        try:
            json.loads(ran.out)
        except ValueError:
            odd[command] = ran.out + ran.err

    assert odd == {}


def test_a_dry_run_changes_nothing(everything, chandra, cloud, tmp_path):
    before = (tmp_path / "chandra.toml").read_text()
    changed = {}
    for command in leaves():
        cloud.calls.clear()
        ran = chandra(*everything(command), "--dry-run")
        # Numbers are asked for with POST.
        changes = [c for c in cloud.changes if c != "monitoring:GetMetricData"]
        if changes or ran.status != 0:
            changed[command] = (changes, ran.status, ran.err)

    assert changed == {}
    assert (tmp_path / "chandra.toml").read_text() == before


def test_destroy_all_leaves_nothing_that_carries_the_tag(everything, chandra, wire):
    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert "nothing carries the tag" in chandra("destroy", "--all").out
    assert wire.call("ecr", "describe_repositories")["repositories"] == []
    assert wire.call("iam", "list_roles")["Roles"] == []
    assert "Contents" not in wire.call("s3", "list_objects_v2", Bucket="weights")


def test_several_instance_types_are_a_pool_that_can_be_watched(chandra, cloud):
    kinds = ["--instance-type", "ml.g6e.2xlarge", "--instance-type", "ml.g5.2xlarge"]

    ran = chandra("deploy", *kinds)
    facts = chandra("status", "--json").json

    assert ran.status == 0, ran.err
    variant = cloud.variants[cloud.machines["ocr"].config][0]
    assert [pool["Priority"] for pool in variant["InstancePools"]] == [1, 2]
    assert facts["instance_type"] == "ml.g6e.2xlarge"
