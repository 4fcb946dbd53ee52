"""Progress of a batch transform job until it ends.

The waiter of boto3 gives up after an hour and reports nothing until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from deploy.batch.job import TransformState
from deploy.commands.batch.job.watch import Watch
from deploy.console import Console
from deploy.context import Context
from deploy.errors import Interrupted, WaitTimeoutError
from deploy.retries import DEFAULT_BACKOFF, Poll, StatusLine, duration

__all__ = ["follow_job"]

POLL_SECONDS = 30.0
# Log lines shown per poll: a broken container repeats the same line without end.
MAX_LINES = 10


def follow_job(
    context: Context, watch: Watch, *, timeout_seconds: float | None
) -> TransformState:
    """Wait until a job ends and return its final state.

    Raises WaitTimeoutError after `timeout_seconds`, and Interrupted on Ctrl-C.
    """
    console, total = context.console, len(watch.work)
    poll = Poll(
        POLL_SECONDS,
        timeout_seconds,
        DEFAULT_BACKOFF,
        clock=context.clock,
        sleep=context.sleep,
        say=console.say,
    )
    status_line = StatusLine(poll, console.say)
    state: TransformState | None = None
    num_read = 0
    try:
        for attempt in poll:
            with attempt:
                state = watch.read_state()
                num_read = watch.read_results()
                _print_log(watch.read_log(), console)
                status_line.show(
                    state.status,
                    _progress_line(
                        state, watch.describe_failures(), num_read, total, context.now
                    ),
                )
                if not state.is_changing:
                    return state
    except KeyboardInterrupt:
        raise Interrupted(_describe_running_job(state)) from None
    after = f"after {duration(poll.elapsed_seconds)}. It continues"
    if state is None:
        raise WaitTimeoutError(
            f"the state of the transform job is not known {after}",
            hint="chandra-sagemaker transform status",
        )
    raise WaitTimeoutError(
        f"transform job {state.name} has read {num_read} of {total} documents {after}",
        hint=f"chandra-sagemaker transform wait {state.name}",
    )


def _describe_running_job(state: TransformState | None) -> str:
    """Return a sentence on the job that continues after Ctrl-C, with its commands."""
    if state is None or not state.is_changing:
        return "the job's state is not known; see `chandra-sagemaker transform status`"
    name = state.name
    return (
        f"transform job {name} continues, and is paid for until it ends: "
        f"`chandra-sagemaker transform status {name}` shows it, `transform wait "
        f"{name}` resumes waiting, `transform stop {name}` stops it and keeps its "
        "results"
    )


def _print_log(lines: Sequence[str], console: Console) -> None:
    for line in lines[:MAX_LINES]:
        console.say(f"  | {line}")
    if len(lines) > MAX_LINES:
        console.say(f"  | and {len(lines) - MAX_LINES} more lines")


def _progress_line(
    state: TransformState,
    failed: str,
    num_read: int,
    total: int,
    now: datetime,
) -> str:
    words = [f"{state.status}: {num_read} of {total} documents"]
    if failed:
        words.append(f"failed {failed}")
    if state.is_changing and 0 < num_read < total and state.started is not None:
        elapsed = (now - state.started).total_seconds()
        words.append(f"about {duration(elapsed / num_read * (total - num_read))} left")
    return ", ".join(words)
