"""Execution of a plan: its calls, and the waits between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from deploy.console import Console
from deploy.errors import (
    AccessDeniedError,
    DeployError,
    Interrupted,
    NotFoundError,
    ResourceFailedError,
    WaitTimeoutError,
)
from deploy.plan.actions import Action, Call, Goal, Wait
from deploy.plan.advice import advice_for
from deploy.plan.recreation import Recreation, find_creation, recreation_of
from deploy.resources import EndpointState
from deploy.retries import (
    DEFAULT_BACKOFF,
    Attempts,
    Backoff,
    Poll,
    StatusLine,
    duration,
)

__all__ = ["ExecutionOptions", "Executor", "select_actions"]

POLL_SECONDS = 15.0
# After SageMaker has accepted an update, the endpoint looks unchanged for a while.
GRACE_SECONDS = 60.0
NUM_LAST_LINES = 12
# SageMaker finds a new role after about ten seconds, and a new config after one or two.
MISSING_BACKOFF = DEFAULT_BACKOFF
NO_RETRY = Backoff(num_retries=0, first_seconds=0.0, longest_seconds=0.0)


class Performer(Protocol):
    """Client that makes the calls of a plan."""

    def perform(self, call: Call) -> Mapping[str, Any]: ...


class Watcher(Protocol):
    """Source of an endpoint's state during a wait."""

    def poll_endpoint(self, name: str) -> EndpointState | None:
        """Return the endpoint's state now; None if there is no such endpoint."""
        ...


class LogLine(Protocol):
    """A line of a container's log."""

    @property
    def message(self) -> str: ...


class Log(Protocol):
    """Log of an endpoint's containers, which is shown during a wait."""

    def read(self) -> Sequence[LogLine]:
        """Return the lines that are new since the last call."""
        ...


@dataclass(frozen=True, slots=True)
class ExecutionOptions:
    """Options of a command on how its plan is executed."""

    timeout_seconds: float = 3600
    """Limit for each wait."""
    is_waiting: bool = True
    """False drops the last wait and what comes after it."""
    is_dry_run: bool = False
    """Print the actions only."""
    flag: str = ""
    """Flag that commands for the same endpoint need, such as " --async"."""


class Executor:
    """Executor of a plan's actions, which prints what it does."""

    def __init__(
        self,
        performer: Performer,
        watcher: Watcher,
        console: Console,
        options: ExecutionOptions = ExecutionOptions(),
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        log: Log | None = None,
        check: Callable[[Sequence[Action]], None] = lambda actions: None,
        on_done: Callable[[Call], None] = lambda call: None,
    ) -> None:
        """Make calls with `performer` and wait with `watcher`.

        Args:
            options: the waits, the dry run, and the flag of the endpoint.
            log: its lines are shown during a wait.
            check: raises ConfigError for actions that AWS would reject.
            on_done: called after each call, also if it was denied and may be.
        """
        self._performer = performer
        self._watcher = watcher
        self._console = console
        self._options = options
        self._clock = clock
        self._sleep = sleep
        self._log = log
        self._check = check
        self._on_done = on_done
        self._recreation: Recreation | None = None
        self._last_lines: deque[str] = deque(maxlen=NUM_LAST_LINES)

    def run(self, actions: Sequence[Action]) -> None:
        """Execute the actions in order; raise the error of the first that fails.

        Nothing is executed if AWS would reject one of the calls, or in a dry run. Calls
        that may be denied only print a note if they are. If the plan deleted a serving
        endpoint and its replacement fails, the endpoint is created again with its old
        config, and the error says so. Raises WaitTimeoutError if a wait takes too long,
        and Interrupted after Ctrl-C, with a sentence on what was done.
        """
        actions = select_actions(actions, is_waiting=self._options.is_waiting)
        self._check(actions)
        if self._options.is_dry_run:
            for action in actions:
                self._console.say(f"would {action.sentence}")
            return
        num_done = 0
        try:
            for current in actions:
                if isinstance(current, Wait):
                    self._wait(current)
                else:
                    self._remember_serving_config(current, actions[num_done + 1 :])
                    self._console.say(current.sentence)
                    try:
                        for attempt in self._attempts(current):
                            with attempt:
                                self._performer.perform(current)
                    except AccessDeniedError as error:
                        if not current.may_be_denied:
                            raise
                        self._console.say(
                            f"note: this was not allowed: {error.message}"
                        )
                    self._on_done(current)
                num_done += 1
        except KeyboardInterrupt:
            sentence = _describe_progress(actions[:num_done], actions[num_done:])
            if self._recreation is not None:
                sentence = f"{sentence}. {self._loss_sentence(self._recreation)}"
            raise Interrupted(sentence) from None
        except DeployError as error:
            if self._recreation is None:
                raise
            raise self._restore(self._recreation, error) from error

    def _remember_serving_config(self, call: Call, rest: Sequence[Action]) -> None:
        """If a call deletes an endpoint that is created again, remember its config.

        The endpoint's state is read for that, before the call.
        """
        creation = find_creation(call, rest)
        if creation is not None:
            name = str(call.params["EndpointName"])
            self._recreation = recreation_of(
                creation, self._watcher.poll_endpoint(name)
            )

    def _restore(self, lost: Recreation, error: DeployError) -> DeployError:
        """Create the lost endpoint again, and return `error` with the outcome added.

        `error` is returned unchanged if the old config still serves. Nothing is created
        if the endpoint is still changing or the wait for it timed out. Raises
        Interrupted after Ctrl-C.
        """
        name, config = lost.endpoint, lost.config
        try:
            actions = lost.restoration(self._watcher.poll_endpoint(name))
            if actions is None or isinstance(error, WaitTimeoutError):
                # SageMaker is still working: the new config may come into service.
                return _with_sentence(
                    error, f"{self._loss_sentence(lost)}, should the new one fail"
                )
            if not actions:
                return error
            self._console.say(f"{error.message}: restoring config {config}")
            self._recreation = None
            self.run(actions)
        except KeyboardInterrupt:
            raise Interrupted(f"{error.message}. {self._loss_sentence(lost)}") from None
        except DeployError as second:
            return error.with_message(
                f"{error.message}. Config {config}, which served before, is gone and "
                f"could not be restored either: {second.message}",
                hint=f"{self._rollback_command(lost)} brings it back",
            )
        words = (
            "serves again with" if self._options.is_waiting else "is created again with"
        )
        sentence = f"Endpoint {name} {words} config {config}, as before"
        if self._options.flag:
            # The limits of its scaling were deleted with the endpoint.
            command = f"chandra-sagemaker start{self._options.flag}"
            sentence += f", without scaling: {command} sets it"
        return _with_sentence(error, sentence)

    def _loss_sentence(self, lost: Recreation) -> str:
        return (
            f"Config {lost.config}, which served before, is gone: "
            f"{self._rollback_command(lost)} brings it back"
        )

    def _rollback_command(self, lost: Recreation) -> str:
        return f"chandra-sagemaker rollback{self._options.flag} --to {lost.config}"

    def _attempts(self, call: Call) -> Attempts:
        """Return the attempts at a call, which retry if `call.retry_if_missing`."""
        return Attempts(
            MISSING_BACKOFF if call.retry_if_missing else NO_RETRY,
            sleep=self._sleep,
            errors=NotFoundError,
        )

    def _wait(self, wait: Wait) -> None:
        """Poll the endpoint until it has reached the goal.

        Its status and new log lines are printed meanwhile. Raises WaitTimeoutError, and
        the errors of `_has_arrived`.
        """
        poll = Poll(
            POLL_SECONDS,
            self._options.timeout_seconds,
            DEFAULT_BACKOFF,
            clock=self._clock,
            sleep=self._sleep,
            say=self._console.say,
        )
        line = StatusLine(poll, self._console.say)
        status = "not known"
        was_changing = False
        for look in poll:
            with look:
                state = self._watcher.poll_endpoint(wait.endpoint)
                try:
                    lines = () if self._log is None else self._log.read()
                except DeployError:
                    # The wait is worth more than the lines of the log.
                    lines = ()
                self._show_lines(lines)
                status = _status_text(state)
                line.show(status)
                was_changing = was_changing or (state is not None and state.is_changing)
                if self._has_arrived(wait, state, was_changing, poll.elapsed_seconds):
                    if wait.goal is Goal.IN_SERVICE:
                        self._recreation = None
                    return
        raise WaitTimeoutError(
            f"endpoint {wait.endpoint} is not {wait.goal.value} after "
            f"{duration(poll.elapsed_seconds)}: {status}. It continues",
            hint="chandra-sagemaker status, or the same command again to continue "
            "waiting",
        )

    def _has_arrived(
        self,
        wait: Wait,
        state: EndpointState | None,
        was_changing: bool,
        elapsed_seconds: float,
    ) -> bool:
        """Return True if the endpoint has reached the goal of the wait.

        `was_changing` is True if an earlier poll has seen it change. Raises
        ResourceFailedError if it can no longer reach the goal.
        """
        if wait.goal is Goal.DELETED:
            return state is None
        if wait.goal is Goal.SETTLED:
            return state is None or not state.is_changing
        if state is None:
            # SageMaker lists a new endpoint with a delay.
            if elapsed_seconds < GRACE_SECONDS:
                return False
            raise ResourceFailedError(
                f"endpoint {wait.endpoint} was deleted while we waited for it",
                hint="chandra-sagemaker deploy",
            )
        if state.is_changing:
            return False
        if state.status == "InService" and state.config == wait.config:
            # If the instances never come, the wait ends; `verify_endpoint` reports
            # that.
            return wait.instance_count in (None, state.instance_count) or (
                elapsed_seconds >= GRACE_SECONDS
            )
        is_recent = elapsed_seconds < GRACE_SECONDS
        if state.status == "InService" and not was_changing and is_recent:
            return False
        raise self._report_failure(wait, state)

    def _report_failure(self, wait: Wait, state: EndpointState) -> ResourceFailedError:
        """Print the last lines of the log, and return the error to raise."""
        reason = state.failure or "SageMaker gives no reason"
        if state.status == "InService":
            what = (
                f"the update of endpoint {wait.endpoint} was rolled back: it serves "
                f"config {state.config}, not {wait.config}"
            )
        else:
            what = f"endpoint {wait.endpoint} is {state.status}"
        if self._last_lines:
            self._console.say(f"the last lines of the log of {wait.endpoint}:")
            for line in self._last_lines:
                self._console.say(f"  {line}")
        advice = advice_for(reason)
        if advice is None:
            return ResourceFailedError(
                f"{what}: {reason}", hint="chandra-sagemaker logs --errors"
            )
        return ResourceFailedError(
            f"{what}: {reason} ({advice.meaning})", hint=advice.hint
        )

    def _show_lines(self, lines: Sequence[LogLine]) -> None:
        for line in lines:
            self._last_lines.append(line.message)
            self._console.say(f"  | {line.message}")


def select_actions(actions: Sequence[Action], *, is_waiting: bool) -> Sequence[Action]:
    """Return the actions to execute.

    Without waiting, the last wait and the actions after it are dropped. Those actions
    record what is true only when the endpoint has reached its goal.
    """
    waits = [n for n, action in enumerate(actions) if isinstance(action, Wait)]
    return actions if is_waiting or not waits else actions[: waits[-1]]


def _status_text(state: EndpointState | None) -> str:
    if state is None:
        return "does not exist"
    stages = f" ({', '.join(state.stages)})" if state.stages else ""
    return f"{state.status}{stages}"


def _describe_progress(done: Sequence[Action], left: Sequence[Action]) -> str:
    """Return what an interrupted plan has done and not done.

    `left` begins with the action that was interrupted.
    """
    sentences = [f"done: {_sentences_of(done)}"] if _sentences_of(done) else []
    current = left[0] if left else None
    if isinstance(current, Wait):
        change = "deletion" if current.goal is Goal.DELETED else "change"
        sentences.append(f"the {change} of endpoint {current.endpoint} continues")
    elif current is not None:
        sentences.append(
            f"interrupted while about to {current.sentence}, which may be done"
        )
    if _sentences_of(left[1:]):
        sentences.append(f"not done: {_sentences_of(left[1:])}")
    sentences.append(
        "Run the same command again to continue, and `chandra-sagemaker status` "
        "shows what there is now"
    )
    return ". ".join(sentences)


def _with_sentence(error: DeployError, sentence: str) -> DeployError:
    """Return the same error with a sentence added to its message."""
    return error.with_message(f"{error.message}. {sentence}", hint=error.hint)


def _sentences_of(actions: Sequence[Action]) -> str:
    return "; ".join(a.sentence for a in actions if isinstance(a, Call))
