"""Rules that every command keeps: JSON, dry runs, secrets and permissions."""

from __future__ import annotations

import json
import re

import pytest

from deploy.aws import AWSClient
from deploy.cli import main
from deploy.commands.index import names
from deploy.policies import caller_policy
from tests.deploy.accounts import IDENTITY, configured
from tests.deploy.batch.transformer import LOG_GROUP, Transformer
from tests.deploy.conftest import SECRET, create_test_session
from tests.deploy.contents import PNG
from tests.deploy.images import write_archive
from tests.deploy.queue.queued import FakeQueue

ARGUMENTS = {
    "alarms": ["--create"],
    "async submit": ["FILE"],
    "async wait": ["--timeout", "1"],
    "completion": ["bash"],
    "dashboard": ["--create"],
    "iam": ["--create"],
    "image": ["check"],
    "init": ["--force"],
    "invoke": ["FILE"],
    "model": ["stage"],
    "rollback": ["--to", "CONFIG"],
    "schedule": ["--start", "8:00", "--stop", "19:00"],
    "transform fetch": ["JOB", "--into", "s3://weights/named/"],
    "transform retry": ["JOB"],
    "transform start": ["FILE", "s3://weights/results/"],
    "transform stop": ["JOB"],
    "transform wait": ["JOB"],
    "update": ["--instance-count", "2"],
}


pytestmark = pytest.mark.usefixtures("staged")


@pytest.fixture
def arguments_of(chandra, wire, cloud, project, tmp_path, at):
    """Deploy one resource of every kind; return a function for a command's arguments.

    `arguments_of(("async", "submit"))` returns a command line that succeeds.
    """
    for bucket in ("weights", "results"):
        wire.call("s3", "create_bucket", Bucket=bucket)
    project(
        '[asynchronous]\nbucket = "weights"\n'
        '[transform]\nbuckets = ["weights", "results"]\n'
    )
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
    (tmp_path / "page.png").write_bytes(PNG)
    cloud.invoked = FakeQueue(wire)
    submitted = chandra("async", "submit", str(tmp_path / "page.png"))
    assert submitted.status == 0, submitted.err
    cloud.invoked = lambda environ, body: ("200 OK", [], b"# Title")
    page = str(tmp_path / "page.png")
    wire.call("logs", "create_log_group", logGroupName=LOG_GROUP)
    cloud.transformed = Transformer(wire, int(at.now * 1000))
    started = chandra("transform", "start", page, "s3://results/earlier/")
    assert started.status == 0, started.out + started.err
    places = {
        "FILE": page,
        "JOB": next(iter(cloud.jobs)),
        "CONFIG": cloud.machines["ocr"].config,
    }

    def build_arguments(words):
        name = " ".join(words)
        return [*words, *(places.get(a, a) for a in ARGUMENTS.get(name, ()))]

    return build_arguments


def test_json_output_is_one_object_with_iso_times(arguments_of, chandra):
    # Without arguments, these commands list what exists.
    listing_commands = [["alarms"], ["schedule"], ["logs"]]
    violations = {}
    for words in [*map(arguments_of, names()), *listing_commands]:
        ran = chandra(*words, "--json", "--dry-run")
        try:
            is_violation = not isinstance(json.loads(ran.out), dict)
        except ValueError:
            is_violation = True
        # 2026-11-30 12:00, which ISO 8601 writes with a T.
        if is_violation or re.search(r'"\d{4}-\d\d-\d\d \d', ran.out):
            violations[" ".join(words)] = ran.out + ran.err

    assert violations == {}


def test_a_dry_run_changes_nothing(arguments_of, chandra, cloud, tmp_path):
    before = (tmp_path / "chandra.toml").read_text()
    changed = {}
    for command in names():
        cloud.calls.clear()
        ran = chandra(*arguments_of(command), "--dry-run")
        changes = cloud.changes
        if changes or ran.status != 0:
            changed[command] = (changes, ran.status, ran.err)

    assert changed == {}
    assert (tmp_path / "chandra.toml").read_text() == before


SECRETS = (SECRET, "hf_hidden", "hidden-password", "auth-token")


@pytest.mark.slow
def test_no_secret_is_shown(arguments_of, chandra, monkeypatch, front):
    """Run every command with and without --json and --dry-run."""
    monkeypatch.setenv("HF_TOKEN", "hf_hidden")
    url = front[0].replace("://", "://us:hidden-password@")
    shown = {}
    statuses = set()
    for words in names():
        # `init` would replace chandra.toml, and `local` does not end.
        is_done = words not in {("init",), ("local",)}
        done = ((), ("--json",)) if is_done else ()
        for flags in (("--dry-run",), ("--dry-run", "--json"), *done):
            ran = chandra(*arguments_of(words), *flags, "--endpoint-url", url)
            statuses.add(ran.status)
            exposed = [secret for secret in SECRETS if secret in ran.out + ran.err]
            if exposed:
                shown[words, flags] = exposed

    assert shown == {}
    assert 0 in statuses
    assert 3 not in statuses


def test_password_in_an_unreachable_address_is_hidden(project, tmp_path, capsys):
    def connect(**_):
        return AWSClient(
            create_test_session(),
            endpoint_url="http://us:hidden-password@127.0.0.1:9",
            num_attempts=1,
        )

    status = main(
        ["status", "--config", str(tmp_path / "chandra.toml")], connect=connect
    )

    shown = capsys.readouterr()
    assert status == 1
    assert "AWS cannot be reached" in shown.err
    assert "hidden" not in shown.out + shown.err


def test_printed_policy_allows_every_command(arguments_of, chandra, cloud):
    """Check calls except those to S3 and the scheduler, whose names the shim lacks."""
    cloud.calls.clear()
    for words in names():
        chandra(*arguments_of(words), "--dry-run")
    for arguments in (["stop"], ["start"], ["doctor"], ["destroy", "--all"]):
        assert chandra(*arguments).status == 0
    policy = caller_policy(configured(), IDENTITY)
    allowed = {action for s in policy["Statement"] for action in s["Action"]}
    made = {
        call.replace("monitoring:", "cloudwatch:")
        for call in cloud.calls
        if call.partition(":")[0] not in ("s3", "scheduler", "sts")
    }

    assert len(made) > 30
    assert made - allowed == set()


def test_destroy_all_leaves_nothing_that_carries_the_tag(arguments_of, chandra, wire):
    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert "nothing carries the tag" in chandra("destroy", "--all").out
    assert wire.call("ecr", "describe_repositories")["repositories"] == []
    assert wire.call("iam", "list_roles")["Roles"] == []
    assert "Contents" not in wire.call("s3", "list_objects_v2", Bucket="weights")


def test_status_works_for_a_pool_of_instance_types(chandra, cloud):
    kinds = ["--instance-type", "ml.g6e.2xlarge", "--instance-type", "ml.g5.2xlarge"]

    ran = chandra("deploy", *kinds)
    facts = chandra("status", "--json").json

    assert ran.status == 0, ran.err
    variant = cloud.variants[cloud.machines["ocr"].config][0]
    assert [pool["Priority"] for pool in variant["InstancePools"]] == [1, 2]
    assert facts["instance_type"] == "ml.g6e.2xlarge"
