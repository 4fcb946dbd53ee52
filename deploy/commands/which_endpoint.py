"""Flag --async, and the endpoint that it selects."""

from __future__ import annotations

import argparse
from dataclasses import replace

from deploy.config import DeployConfig
from deploy.context import Context
from deploy.queue.endpoint import async_name
from deploy.queue.scaling import Scaling
from deploy.resources import tags_of

__all__ = ["add_async_argument", "apply_scaling", "endpoint_of", "owner_of"]


def add_async_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--async",
        action="store_true",
        dest="is_async",
        help="use the asynchronous endpoint",
    )


def endpoint_of(context: Context, options: argparse.Namespace) -> str:
    """Return the endpoint's name: with --async that of the asynchronous endpoint."""
    config = context.config
    return async_name(config) if options.is_async else config.name


def owner_of(context: Context, options: argparse.Namespace) -> DeployConfig:
    """Return the configuration with the endpoint's name, which is also its tag."""
    return replace(context.config, name=endpoint_of(context, options))


def apply_scaling(context: Context, owner: DeployConfig) -> None:
    """Set the scaling limits, policies and alarms of a queue that is in service.

    They come from chandra.toml, because an endpoint config does not contain them. With
    --dry-run, print the calls.
    """
    scaling = Scaling.from_table(owner.name, owner.asynchronous, tags_of(owner))
    planner = context.planner
    executor = context.executor(endpoint=owner.name)
    executor.run(planner.scale(scaling))
    # The ARNs that alarms trigger are known once the policies exist.
    executor.run(planner.set_scaling_alarms(scaling))
