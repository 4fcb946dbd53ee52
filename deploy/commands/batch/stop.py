"""Command `transform stop`: stop a job and keep its results."""

from __future__ import annotations

import argparse

from deploy.batch.job import TransformState
from deploy.batch.planner import plan_stop
from deploy.commands.batch.flags import add_job_argument
from deploy.commands.batch.job.jobs import find_job
from deploy.commands.command import Command
from deploy.context import Context


def run(context: Context, options: argparse.Namespace) -> int:
    state = find_job(context, options.job)
    actions = plan_stop(state)
    context.executor().run(actions)
    data = {
        "job": state.name,
        "stopped": bool(actions) and not context.is_dry_run,
        "actions": [action.to_json() for action in actions],
    }
    context.console.print_result(data, _lines(context, state, bool(actions)))
    return 0


def _lines(context: Context, state: TransformState, is_stopped: bool) -> list[str]:
    if context.is_dry_run and is_stopped:
        return []
    if not is_stopped:
        return [f"transform job {state.name} is {state.status}: nothing to stop"]
    return [
        f"transform job {state.name} is being stopped, which takes a minute; results "
        f"written before stay in {state.output}",
        "to read the rest, run the same transform start again, or chandra-sagemaker "
        f"transform retry {state.name}",
    ]


COMMAND = Command(
    run=run,
    description="Stop a job. Results that it has written stay, and the same `transform "
    "start` continues from there.",
    examples=(
        "transform stop ocr-0123456789ab",
        "transform stop ocr-0123456789ab --dry-run",
    ),
    add_arguments=add_job_argument,
)
