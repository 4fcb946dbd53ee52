"""What commands for either endpoint share: which of the two is meant."""

from __future__ import annotations

import argparse

from deploy.asynchronous.endpoint import async_name
from deploy.commands.context import Context

__all__ = ["add_async_argument", "endpoint_of"]


def add_async_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--async",
        action="store_true",
        dest="is_async",
        help="of the asynchronous endpoint",
    )


def endpoint_of(context: Context, options: argparse.Namespace) -> str:
    config = context.config
    return async_name(config) if options.is_async else config.name
