"""Every deployment of ours in the region, and the configs it can go back to."""

from __future__ import annotations

import argparse

from deploy.console import minute, table
from deploy.context import Context
from deploy.queue.endpoint import async_name
from deploy.resources import Live

NAME = "list"
HELP = "list our endpoints in the region, and the configs this deployment had"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(context: Context, options: argparse.Namespace) -> int:
    del options
    endpoints = context.account.endpoints()
    name = context.config.name
    history = [
        *context.account.history(name),
        *context.account.history(async_name(context.config)),
    ]
    rows = [("ENDPOINT", "STATUS", "DEPLOYMENT"), *endpoints]
    lines = table(rows) if endpoints else ["no endpoint of ours runs in this region"]
    if history:
        lines += ["", *table([("CONFIG", "CREATED", "LAST WENT LIVE"),
                              *map(_row, history)])]  # fmt: skip
    context.console.result(
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


def _row(live: Live) -> tuple[str, str, str]:
    since = minute(live.since) if live.since else "never"
    return live.config, minute(live.created), since
