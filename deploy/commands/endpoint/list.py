"""Command `list`: endpoints in the region, and configs for rollback."""

from __future__ import annotations

import argparse

from deploy.commands.command import Command
from deploy.console import minute, table
from deploy.context import Context
from deploy.queue.endpoint import async_name
from deploy.resources import DatedConfig


def run(context: Context, options: argparse.Namespace) -> int:
    del options
    endpoints = context.account.endpoints()
    name = context.config.name
    history = [
        *context.account.history(name),
        *context.account.history(async_name(context.config)),
    ]
    rows = [("ENDPOINT", "STATUS", "DEPLOYMENT"), *endpoints]
    lines = ["no endpoint of chandra-sagemaker runs in this region"]
    if endpoints:
        lines = table(rows)
    if history:
        lines += [
            "",
            *table([("CONFIG", "CREATED", "LAST WENT LIVE"), *map(_row, history)]),
        ]
    context.console.print_result(
        {
            "endpoints": [
                {"endpoint": e, "status": s, "deployment": d} for e, s, d in endpoints
            ],
            "configs": [
                {"config": v.config, "created": v.created, "live": v.since}
                for v in history
            ],
        },
        lines,
    )
    return 0


def _row(live: DatedConfig) -> tuple[str, str, str]:
    since = minute(live.since) if live.since else "never"
    return live.config, minute(live.created), since


COMMAND = Command(
    run=run,
    description="List all endpoints in the region that chandra-sagemaker created, and "
    "the endpoint configs that this deployment can go back to.",
    examples=(
        "list",
        "list --region eu-central-1",
    ),
)
