"""Execution of plans, against a scripted endpoint and a fake clock."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import pytest

from deploy.console import Console
from deploy.errors import (
    AccessDeniedError,
    BusyError,
    DeployError,
    Interrupted,
    NotFoundError,
    ResourceFailedError,
    TransientError,
    WaitTimeoutError,
)
from deploy.plan.actions import Call, Goal, Wait
from deploy.plan.advice import ADVICE, advice_for
from deploy.plan.executor import ExecutionOptions, Executor
from deploy.resources import EndpointState

CREATING = EndpointState("ocr", "Creating", "ocr-1", is_ours=True)
SERVING = replace(CREATING, status="InService")
OLD = replace(SERVING, config="ocr-0")
UPDATING = replace(OLD, status="Updating", pending_config="ocr-1")
UNTIL_IN_SERVICE = Wait("ocr", Goal.IN_SERVICE, "ocr-1")


@dataclass
class Line:
    """A line of the log."""

    message: str


class FakeAws:
    """Fake of AWS, a log and a clock.

    Each poll returns the next of `states`, and then always the last. Performed
    operations are recorded.
    """

    def __init__(self, *states, lines=()):
        self.states = list(states)
        self.lines = list(lines)
        self.now = 0.0
        self.performed: list[str] = []
        self.out = io.StringIO()

    def poll_endpoint(self, name):
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def perform(self, call):
        self.performed.append(call.operation)
        return {}

    def read(self):
        lines, self.lines = self.lines, []
        return [Line(line) for line in lines]

    def sleep(self, seconds):
        self.now += seconds

    def run(self, *actions, sleep=None, **options):
        Executor(
            self,
            self,
            Console(out=self.out),
            ExecutionOptions(**options),
            clock=lambda: self.now,
            sleep=sleep or self.sleep,
            log=self,
        ).run(actions)
        return self.out.getvalue()


def call(operation):
    return Call("sagemaker", operation, {}, operation.replace("_", " "))


def test_stages_elapsed_time_and_log_lines_are_shown():
    aws = FakeAws(CREATING, CREATING, SERVING, lines=["loading weights"])

    out = aws.run(call("create_endpoint"), UNTIL_IN_SERVICE)

    assert out.splitlines() == [
        "create endpoint",
        "  | loading weights",
        "[0 min 00 s] Creating",
        "[0 min 30 s] InService",
    ]


def test_status_of_a_wait_is_printed_each_minute():
    out = FakeAws(*[CREATING] * 9, SERVING).run(UNTIL_IN_SERVICE)

    assert [line for line in out.splitlines() if "Creating" in line] == [
        "[0 min 00 s] Creating",
        "[1 min 00 s] Creating",
        "[2 min 00 s] Creating",
    ]


def test_update_that_shows_late_is_not_a_rollback():
    FakeAws(OLD, UPDATING, SERVING).run(UNTIL_IN_SERVICE)


def test_update_that_never_shows_is_a_rollback():
    with pytest.raises(ResourceFailedError, match="rolled back"):
        FakeAws(OLD).run(UNTIL_IN_SERVICE)


def test_return_to_the_old_config_is_a_rollback():
    with pytest.raises(ResourceFailedError, match="serves config ocr-0, not ocr-1"):
        FakeAws(UPDATING, OLD).run(UNTIL_IN_SERVICE)


def test_endpoint_that_is_listed_late_is_waited_for():
    FakeAws(None, CREATING, SERVING).run(UNTIL_IN_SERVICE)


def test_endpoint_deleted_during_the_wait_is_an_error():
    with pytest.raises(ResourceFailedError, match="was deleted while"):
        FakeAws(CREATING, None).run(UNTIL_IN_SERVICE)


@pytest.mark.parametrize("advice", ADVICE, ids=lambda a: a.message)
def test_known_reason_is_explained_with_a_hint(advice):
    failed = replace(CREATING, status="Failed", failure=f"… {advice.message} …")

    with pytest.raises(ResourceFailedError) as caught:
        FakeAws(CREATING, failed).run(UNTIL_IN_SERVICE)

    assert advice.meaning in caught.value.message
    assert caught.value.hint == advice.hint
    assert advice_for(advice.message) is advice


def test_unknown_reason_is_printed_unchanged():
    failed = replace(CREATING, status="Failed", failure="gremlins")

    with pytest.raises(ResourceFailedError, match="gremlins") as caught:
        FakeAws(failed).run(UNTIL_IN_SERVICE)

    assert caught.value.hint == "chandra-sagemaker logs --errors"


def test_timeout_names_the_command_to_wait_on():
    with pytest.raises(WaitTimeoutError, match="continues") as caught:
        FakeAws(CREATING).run(UNTIL_IN_SERVICE, timeout_seconds=90)

    assert "same command again" in (caught.value.hint or "")


def test_last_wait_is_dropped_without_waiting():
    aws = FakeAws(None, CREATING)

    aws.run(
        call("delete_endpoint"),
        Wait("ocr", Goal.DELETED),
        call("create_endpoint"),
        UNTIL_IN_SERVICE,
        call("add_tags"),
        is_waiting=False,
    )

    assert aws.performed == ["delete_endpoint", "create_endpoint"]


def test_ctrl_c_reports_what_is_done_and_goes_on():
    def interrupt(seconds):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        FakeAws(CREATING).run(
            call("create_endpoint"), UNTIL_IN_SERVICE, sleep=interrupt
        )

    assert caught.value.sentence.startswith(
        "done: create endpoint. the change of endpoint ocr continues"
    )


def test_ctrl_c_reports_what_is_not_done():
    def interrupt(seconds):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        FakeAws(CREATING).run(
            call("delete_endpoint"),
            Wait("ocr", Goal.DELETED),
            call("delete_model"),
            sleep=interrupt,
        )

    assert caught.value.sentence == (
        "done: delete endpoint. the deletion of endpoint ocr continues. not "
        "done: delete model. Run the same command again to continue, and "
        "`chandra-sagemaker status` shows what there is now"
    )


def test_ctrl_c_in_a_call_reports_that_it_may_be_done():
    class InterruptedAws(FakeAws):
        def perform(self, call):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="about to create endpoint, which may be"):
        InterruptedAws(CREATING).run(call("create_endpoint"))


class FailingAws(FakeAws):
    """Fake whose first `num_failures` polls raise `error`."""

    def __init__(self, error, *, num_failures):
        super().__init__(SERVING)
        self.error = error
        self.num_failures = num_failures

    def poll_endpoint(self, name):
        if self.num_failures:
            self.num_failures -= 1
            raise self.error
        return super().poll_endpoint(name)


@pytest.mark.parametrize(
    "error", [TransientError("AWS cannot be reached"), BusyError("Rate exceeded")]
)
def test_wait_goes_on_after_transient_errors(error):
    out = FailingAws(error, num_failures=3).run(UNTIL_IN_SERVICE)

    assert out.count(f"{error.message}; retrying") == 3
    assert "InService" in out


@pytest.mark.parametrize(
    ("error", "num_failures"),
    [
        (TransientError("dead"), 99),
        (DeployError("no"), 1),
        (AccessDeniedError("no"), 1),
    ],
)
def test_wait_ends_at_permanent_and_repeated_errors(error, num_failures):
    with pytest.raises(type(error)):
        FailingAws(error, num_failures=num_failures).run(UNTIL_IN_SERVICE)


class DelayedAws(FakeAws):
    """Fake whose first `num_blind` calls do not find a new resource."""

    def __init__(self, num_blind: int):
        super().__init__(SERVING)
        self.num_blind = num_blind

    def perform(self, call):
        super().perform(call)
        if len(self.performed) <= self.num_blind:
            raise NotFoundError("could not find endpoint configuration")
        return {}


def test_call_on_a_new_resource_is_retried():
    aws = DelayedAws(num_blind=2)

    aws.run(replace(call("create_endpoint"), retry_if_missing=True))

    assert len(aws.performed) == 3
    assert aws.now == 10


def test_missing_resource_is_an_error_after_retries():
    aws = DelayedAws(num_blind=100)

    with pytest.raises(NotFoundError):
        aws.run(replace(call("create_endpoint"), retry_if_missing=True))

    assert aws.now == 30


def test_other_calls_are_not_retried():
    aws = DelayedAws(num_blind=100)

    with pytest.raises(NotFoundError):
        aws.run(call("delete_endpoint"))

    assert len(aws.performed) == 1


def test_dry_run_prints_the_plan():
    aws = FakeAws(None)

    out = aws.run(call("create_endpoint"), UNTIL_IN_SERVICE, is_dry_run=True)

    assert aws.performed == []
    assert out.splitlines() == [
        "would create endpoint",
        "would wait until endpoint ocr is in service",
    ]
