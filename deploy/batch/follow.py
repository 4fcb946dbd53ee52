"""Progress of a batch transform job until it ends.

The waiter of boto3 gives up after an hour and reports nothing until then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from deploy.batch.job import TransformState
from deploy.console import Console
from deploy.errors import Interrupted, WaitTimeoutError
from deploy.retries import DEFAULT_BACKOFF, Poll, StatusLine, duration

__all__ = ["FollowedJob", "describe_running_job", "follow"]

POLL_SECONDS = 30.0
# Log lines shown per poll: a broken container repeats the same line without end.
MAX_LINES = 10


class FollowedJob(Protocol):
    """Job whose state, results and log are polled."""

    def state(self) -> TransformState:
        """Return the state of the job. Raises DeployError if AWS does not answer."""
        ...

    def num_done(self) -> int:
        """Return the number of objects that have a result."""
        ...

    def failed(self) -> str:
        """Return the failures so far, counted by code; "" if there are none."""
        ...

    def lines(self) -> Sequence[str]:
        """Return the log lines that report problems since the last call."""
        ...


def follow(
    job: FollowedJob,
    console: Console,
    *,
    total: int,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    timeout_seconds: float | None = None,
) -> TransformState:
    """Wait until a job ends and return its final state.

    Raises WaitTimeoutError after `timeout_seconds`, and Interrupted on Ctrl-C.
    """
    poll = Poll(
        POLL_SECONDS,
        timeout_seconds,
        DEFAULT_BACKOFF,
        clock=clock,
        sleep=sleep,
        say=console.say,
    )
    status_line = StatusLine(poll, console.say)
    state: TransformState | None = None
    done = 0
    try:
        for look in poll:
            with look:
                state = job.state()
                done = job.num_done()
                _show(job.lines(), console)
                status_line.show(
                    state.status, _line(state, job.failed(), done, total, clock())
                )
                if not state.is_changing:
                    return state
    except KeyboardInterrupt:
        raise Interrupted(describe_running_job(state)) from None
    after = f"after {duration(poll.elapsed_seconds)}. It goes on without us"
    if state is None:
        raise WaitTimeoutError(
            f"the state of the transform job is not known {after}",
            hint="chandra-sagemaker transform status",
        )
    raise WaitTimeoutError(
        f"transform job {state.name} has read {done} of {total} documents {after}",
        hint=f"chandra-sagemaker transform wait {state.name}",
    )


def describe_running_job(state: TransformState | None) -> str:
    """Return a sentence on the job that runs on after Ctrl-C, with its commands."""
    if state is None or not state.is_changing:
        return "the job was not asked about yet; `chandra-sagemaker transform status`"
    name = state.name
    return (
        f"transform job {name} goes on without us, and is paid for until it ends: "
        f"`chandra-sagemaker transform status {name}` looks, `transform wait {name}` "
        f"watches on, `transform stop {name}` ends it and keeps what was read"
    )


def _show(lines: Sequence[str], console: Console) -> None:
    for line in lines[:MAX_LINES]:
        console.say(f"  | {line}")
    if len(lines) > MAX_LINES:
        console.say(f"  | and {len(lines) - MAX_LINES} lines more")


def _line(
    state: TransformState,
    failed: str,
    done: int,
    total: int,
    now: float,
) -> str:
    words = [f"{state.status}: {done} of {total} documents"]
    if failed:
        words.append(f"failed {failed}")
    if state.is_changing and 0 < done < total and state.started is not None:
        elapsed = (datetime.fromtimestamp(now, UTC) - state.started).total_seconds()
        words.append(f"about {duration(elapsed / done * (total - done))} left")
    return ", ".join(words)
