"""Command `dashboard`: CloudWatch dashboard of the endpoint."""

from __future__ import annotations

import argparse

from deploy.commands.command import Command
from deploy.commands.which_endpoint import add_async_argument, endpoint_of
from deploy.context import Context
from deploy.errors import ConflictError, NotFoundError
from deploy.monitoring import dashboard_call
from deploy.monitoring.account import (
    dashboard_region,
    has_dashboard,
    read_dashboard,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--create", action="store_true", help="create or replace the dashboard"
    )
    add_async_argument(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    name, region = endpoint_of(context, options), context.identity.region
    flag = " --async" if options.is_async else ""
    if options.create:
        is_taken = read_dashboard(context.aws, name) is not None
        if is_taken and not has_dashboard(context.aws, name):
            raise ConflictError(
                f"there is a dashboard {name} already, and it is not this deployment's",
                hint="set another name in chandra.toml, or rename that dashboard",
            )
        shown_region = dashboard_region(context.aws, name) if is_taken else None
        if shown_region not in (None, region):
            raise ConflictError(
                f"dashboard {name} shows the deployment in {shown_region}, and "
                "dashboards are global: this would replace it",
                hint=f"set another name in the chandra.toml for {region}",
            )
        context.executor().run(
            [dashboard_call(name, region, is_async=options.is_async)]
        )
        if context.is_dry_run:
            context.console.print_result({"dashboard": name, "created": False})
            return 0
    elif not has_dashboard(context.aws, name):
        raise NotFoundError(
            f"there is no dashboard {name}",
            hint=f"chandra-sagemaker dashboard{flag} --create",
        )
    address = (
        f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
        f"#dashboards/dashboard/{name}"
    )
    context.console.print_result({"dashboard": name, "url": address}, [address])
    return 0


COMMAND = Command(
    run=run,
    description="Show or create a CloudWatch dashboard of the endpoint: requests or "
    "queue, latency, GPU and errors.",
    examples=(
        "dashboard",
        "dashboard --create --async",
    ),
    add_arguments=add_arguments,
)
