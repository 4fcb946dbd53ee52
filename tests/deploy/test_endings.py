"""Commands that crash, are interrupted or time out, and are then run again."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.deploy.accounts import OTHER_IMAGE

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("staged")]

MOMENTS = ("crash_before", "crash_after")


@dataclass
class Case:
    """Command on an existing endpoint."""

    arguments: tuple[str, ...]
    num_changes: int
    before: tuple[tuple[str, ...], ...] = (("deploy",),)
    has_new_image: bool = False
    """True if chandra.toml names another image when the command runs."""
    final_status: str | None = "InService"
    """Status of the endpoint afterwards; None if it is deleted."""


CASES = {
    "deploy": Case(("deploy",), 4, before=()),
    "deploy-new-image": Case(("deploy",), 4, has_new_image=True),
    "update": Case(("update", "--instance-type", "ml.g5.2xlarge"), 3),
    "recreate": Case(
        ("update", "--image", OTHER_IMAGE, "--strategy", "recreate"),
        5,
    ),
    "rollback": Case(
        ("rollback",),
        2,
        before=(("deploy",), ("deploy", "--image", OTHER_IMAGE)),
    ),
    "stop": Case(("stop",), 2, final_status=None),
    "start": Case(("start",), 2, before=(("deploy",), ("stop",))),
    "destroy": Case(("destroy",), 3, final_status=None),
    "destroy-all": Case(
        ("destroy", "--all"),
        12,
        before=(("iam", "--create"), ("deploy",), ("alarms", "--create")),
        final_status=None,
    ),
}
"""Every command that waits for an endpoint."""


@pytest.fixture
def prepared(chandra, cloud, project, at):
    """Return a function that runs the commands before the one under test."""

    def prepare(case):
        for arguments in case.before:
            ran = chandra(*arguments)
            assert ran.status == 0, ran.err
            at.now += 60
        if case.has_new_image:
            project(image=OTHER_IMAGE)
        cloud.calls.clear()

    return prepare


def has_final_status(case, cloud):
    machine = cloud.machines.get("ocr")
    return (machine.status if machine else None) == case.final_status


CRASHES = [
    pytest.param(case, number, moment, id=f"{name}-{number}-{moment}")
    for name, case in CASES.items()
    # test_crashes covers a first deployment.
    if name != "deploy"
    for number in range(1, case.num_changes + 1)
    # A crash before a deletion needs no test, because the next run deletes it.
    for moment in (MOMENTS[1:] if name == "destroy-all" else MOMENTS)
]


@pytest.mark.parametrize(("case", "number", "moment"), CRASHES)
def test_second_run_succeeds_after_a_crash(
    chandra, cloud, prepared, case, number, moment
):
    prepared(case)
    setattr(cloud, moment, number)

    crashed = chandra(*case.arguments)
    setattr(cloud, moment, None)
    again = chandra(*case.arguments)

    assert crashed.status == 1, crashed.err
    assert "connection lost" in crashed.err
    assert "try:" in crashed.err
    assert again.status == 0, again.err
    assert has_final_status(case, cloud)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_crashes_cover_all_calls(chandra, cloud, prepared, case):
    prepared(case)

    ran = chandra(*case.arguments)

    assert ran.status == 0, ran.err
    assert len(cloud.changes) == case.num_changes, cloud.changes
    assert has_final_status(case, cloud)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_ctrl_c_in_a_wait_reports_done_and_not_done(chandra, cloud, prepared, case):
    prepared(case)

    def interrupt(seconds):
        raise KeyboardInterrupt

    cut = chandra(*case.arguments, sleep=interrupt)
    changed = len(cloud.changes)
    again = chandra(*case.arguments)

    assert cut.status == 130
    sentence = cut.err.partition("interrupted. ")[2]
    assert "endpoint ocr continues" in sentence
    assert "chandra-sagemaker status" in sentence
    # The message names each call that was done, and the others as not done.
    done = sentence.partition("done: ")[2].partition(". ")[0].split("; ")
    left = sentence.partition("not done: ")[2].partition(". ")[0]
    assert len(done) == changed
    assert len(done) + len(left.split("; ") if left else []) == case.num_changes
    assert again.status == 0, again.err
    assert has_final_status(case, cloud)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_timeout_has_its_own_status_and_a_hint(chandra, cloud, prepared, case):
    prepared(case)
    cloud.num_descriptions = 1000

    late = chandra(*case.arguments, "--timeout", "60")
    cloud.num_descriptions = 2
    again = chandra(*case.arguments)

    assert late.status == 7
    assert "continues" in late.err
    assert "the same command again" in late.err
    assert again.status == 0, again.err


WAITING = [case for case in CASES.values() if "destroy" not in case.arguments]


@pytest.mark.parametrize("case", WAITING, ids=lambda case: case.arguments[0])
def test_dry_run_without_waiting_omits_the_last_wait(chandra, cloud, prepared, case):
    prepared(case)

    shown = chandra(*case.arguments, "--no-wait", "--dry-run")
    listed = chandra(*case.arguments, "--no-wait", "--dry-run", "--json").json
    ran = chandra(*case.arguments, "--no-wait")

    would = [line[6:] for line in shown.out.splitlines() if line.startswith("would ")]
    done = [line for line in ran.out.splitlines() if line in would]
    # A wait prints SageMaker's status in place of its action.
    assert [line for line in would if not line.startswith("wait")] == done
    assert [action["action"] for action in listed["actions"]] == would
    assert not would[-1].startswith(("wait", "note"))


@pytest.mark.parametrize("text", ["-1", "0", "nan", "inf", "soon"])
@pytest.mark.parametrize("command", ["deploy", "stop", "destroy"])
def test_invalid_timeout_is_rejected(chandra, cloud, command, text):
    ran = chandra(command, f"--timeout={text}")

    assert ran.status == 2
    assert f"seconds must be a number above 0, not {text}" in ran.err
    assert cloud.calls == []


def test_ctrl_c_between_two_steps_reports_what_is_done(chandra, intercept):
    """Press Ctrl-C at the last description, when every resource exists."""
    statuses = []

    def interrupt_at_the_second_time(response):
        statuses.append(response.get("EndpointStatus"))
        if statuses.count("InService") == 2:
            raise KeyboardInterrupt

    intercept("sagemaker", "DescribeEndpoint", interrupt_at_the_second_time, after=True)

    ran = chandra("deploy")

    assert ran.status == 130
    assert "done: create model ocr-" in ran.err
    assert "changed nothing" not in ran.err


def test_stop_without_waiting_does_not_report_gone(chandra):
    chandra("deploy")

    ran = chandra("stop", "--no-wait")

    assert "endpoint ocr is being deleted" in ran.out
    assert "endpoint ocr is stopped" not in ran.out


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("Creating", 0),
        ("Updating", 0),
        ("RollingBack", 0),
        ("Deleting", 0),
        ("InService", 0),
        ("Failed", 6),
        ("OutOfService", 6),
        ("UpdateRollbackFailed", 6),
    ],
)
def test_status_fails_only_if_waiting_does_not_help(chandra, cloud, status, expected):
    chandra("deploy")
    cloud.num_descriptions = 1000
    cloud.machines["ocr"].status = status

    assert chandra("status").status == expected
