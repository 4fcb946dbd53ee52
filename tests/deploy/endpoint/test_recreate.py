"""Endpoints that are deleted for recreation and whose replacement fails."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from deploy.plan.advice import ADVICE
from tests.deploy.accounts import OTHER_IMAGE

# Each test makes about a hundred calls over HTTP.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
RECREATE = ("update", "--image", OTHER_IMAGE, "--strategy", "recreate")
QUEUE = '[asynchronous]\nbucket = "exchange"\n'
STOPS_SERVING = re.compile(r"recreate|\bstop\b|\bdestroy\b|delete[_ -]endpoint")


@pytest.fixture
def serving(staged, chandra, cloud):
    """Return the config of an endpoint that serves."""
    assert chandra("deploy").status == 0
    return cloud.machines["ocr"].config


def planned_config(chandra):
    return chandra("update", "--image", OTHER_IMAGE, "--dry-run", "--json").json[
        "config"
    ]


def test_failed_config_is_replaced_by_the_previous(serving, chandra, cloud):
    cloud.failing = {planned_config(chandra): "CannotStartContainerError"}

    ran = chandra(*RECREATE)

    assert ran.status == 6
    assert "CannotStartContainerError" in ran.err
    assert f"Endpoint ocr serves again with config {serving}, as before" in ran.err
    assert cloud.machines["ocr"].config == serving
    assert cloud.machines["ocr"].status == "InService"
    assert chandra("status").status == 0


def test_rejected_creation_restores_the_old_config(serving, chandra, cloud):
    cloud.calls.clear()
    # The calls before it create model and config, and delete the endpoint.
    cloud.crash_before = 4

    ran = chandra(*RECREATE)

    assert "sagemaker:CreateEndpoint" in cloud.changes
    assert ran.status == 1
    assert f"Endpoint ocr serves again with config {serving}" in ran.err
    assert cloud.machines["ocr"].config == serving


def test_failed_restoration_names_the_command(serving, chandra, cloud):
    reason = "InsufficientCapacity"
    cloud.failing = {planned_config(chandra): reason, serving: reason}

    ran = chandra(*RECREATE)
    status = chandra("status")
    cloud.failing = {}
    back = chandra("rollback", "--to", serving)

    command = f"chandra-sagemaker rollback --to {serving}"
    assert ran.status == status.status == 6
    assert f"Config {serving}, which served before, is gone and could not" in ran.err
    assert f"try:   {command} brings it back" in ran.err
    assert back.status == 0, back.err
    assert cloud.machines["ocr"].config == serving


def test_a_failed_endpoint_names_the_config_that_was_live(serving, chandra, cloud):
    cloud.failing = {planned_config(chandra): "gremlins"}
    chandra(*RECREATE, "--no-wait")
    while cloud.machines["ocr"].status != "Failed":
        chandra("status")

    ran = chandra("status")

    assert ran.status == 6
    assert f"next: chandra-sagemaker rollback --to {serving} brings back" in ran.out


def test_timeout_reports_the_lost_config(serving, chandra, cloud, at):
    before = len(cloud.calls)

    def slow_down(seconds):
        at.sleep(seconds)
        if "sagemaker:CreateEndpoint" in cloud.calls[before:]:
            cloud.num_descriptions = 99

    ran = chandra(*RECREATE, "--timeout", "90", sleep=slow_down)

    assert ran.status == 7
    assert f"Config {serving}, which served before, is gone" in ran.err
    assert f"rollback --to {serving} brings it back, should the new one fail" in ran.err


def test_ctrl_c_during_recreation_reports_lost_config(serving, chandra, cloud):
    def interrupt(seconds):
        if "sagemaker:CreateEndpoint" in cloud.calls[before:]:
            raise KeyboardInterrupt

    before = len(cloud.calls)

    ran = chandra(*RECREATE, sleep=interrupt)

    assert ran.status == 130
    assert f"rollback --to {serving} brings it back" in ran.err


def test_endpoint_is_missing_after_kill_before_creation(serving, chandra, cloud):
    class Killed(BaseException):
        pass

    def kill(seconds):
        if "ocr" not in cloud.machines or cloud.machines["ocr"].status == "Deleting":
            raise Killed

    with pytest.raises(Killed):
        chandra(*RECREATE, sleep=kill)
    while "ocr" in cloud.machines:
        chandra("status")
    status = chandra("status")
    back = chandra("start")

    assert status.status == 6
    assert "endpoint ocr is missing" in status.out
    assert "an update that deletes the endpoint first was interrupted" in status.out
    assert f"its last config is {serving}" in status.out
    assert back.status == 0, back.err
    assert cloud.machines["ocr"].config == serving


def test_denied_delete_restores_nothing(serving, chandra, cloud):
    cloud.forbidden = {"sagemaker:DeleteEndpoint"}

    ran = chandra(*RECREATE)

    assert ran.status == 8
    assert "as before" not in ran.err
    assert "is gone" not in ran.err
    assert cloud.machines["ocr"].config == serving


def test_failure_after_new_config_serves_restores_nothing(serving, chandra, cloud):
    cloud.forbidden = {"sagemaker:AddTags"}

    ran = chandra(*RECREATE)

    assert ran.status == 8
    assert cloud.machines["ocr"].config != serving


def test_failed_recreation_restores_queue_without_scaling(
    staged, chandra, cloud, project, wire
):
    project(QUEUE)
    wire.call("s3", "create_bucket", Bucket="exchange")
    assert chandra("async", "deploy").status == 0
    before = cloud.machines["ocr-async"].config
    project(QUEUE + '[update]\nstrategy = "recreate"\n', image=OTHER_IMAGE)
    config = chandra("async", "deploy", "--dry-run", "--json").json["config"]
    cloud.failing = {config: "gremlins"}

    ran = chandra("async", "deploy")

    assert ran.status == 6
    assert f"serves again with config {before}, as before, without scaling" in ran.err
    assert "chandra-sagemaker start --async" in ran.err
    assert cloud.machines["ocr-async"].config == before


# Recommended commands


def list_hints():
    """Return the texts in deploy/ that are hints."""
    for path in sorted((ROOT / "deploy").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            values = [k.value for k in node.keywords if k.arg == "hint"]
            if called in ("Advice", "Finding"):
                values += node.args[2 if called == "Advice" else 3 :]
            for value in values:
                text = "".join(
                    part.value
                    for part in ast.walk(value)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                )
                yield f"{path.relative_to(ROOT)}:{node.lineno}", text


ALLOWED_HINTS = (
    "schedule --start",
    # The message of `destroy` names a form of the command that deletes less.
    "destroy without --all keeps what it uses",
    "destroy --all --keep-global, which keeps roles and objects",
    "destroy, which keeps everything that is global",
)


def test_no_hint_stops_a_serving_endpoint():
    texts = list(list_hints())

    bad = [
        (where, text)
        for where, text in texts
        if STOPS_SERVING.search(text)
        and not any(word in text for word in ALLOWED_HINTS)
    ]
    assert len(texts) > 150
    assert bad == []


def test_no_readme_remedy_stops_a_serving_endpoint():
    readme = (ROOT / "deploy" / "README.md").read_text()
    table = readme.partition("\n## Troubleshooting\n")[2].partition("\n## ")[0]

    tries = [row.split(" | ")[-1] for row in table.splitlines() if row.startswith("|")]

    assert len(tries) > len(ADVICE)
    assert [text for text in tries if STOPS_SERVING.search(text)] == []
