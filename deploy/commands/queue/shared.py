"""Ledger and inputs that submit, wait and fetch share."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.context import Context
from deploy.documents.document import S3
from deploy.errors import NotFoundError
from deploy.queue.ledger import Ledger
from deploy.queue.s3_ledger import open_ledger

__all__ = [
    "add_inputs_argument",
    "add_ledger_argument",
    "ledger_location",
    "use_ledger",
]


def add_inputs_argument(parser: argparse.ArgumentParser) -> None:
    """Add INPUT for commands that act on submitted documents."""
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="files, folders, s3:// prefixes or manifests whose documents are selected "
        "(default: everything in the ledger)",
    )


def add_ledger_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ledger",
        metavar="WHERE",
        help="ledger file, or s3://bucket/prefix to share it between machines "
        "(default: chandra.ledger.db beside chandra.toml)",
    )


def ledger_location(context: Context, options: argparse.Namespace) -> str:
    """Return --ledger, or the path of the ledger beside chandra.toml."""
    default = context.config_path.with_suffix(".ledger.db")
    return str(options.ledger or default)


@contextmanager
def use_ledger(
    context: Context, options: argparse.Namespace, *, must_exist: bool
) -> Iterator[Ledger]:
    """Open the ledger for a block, and close it afterwards.

    A missing ledger is created. With `must_exist`, a missing ledger file raises
    NotFoundError.
    """
    where = ledger_location(context, options)
    if must_exist and not where.startswith(S3) and not Path(where).is_file():
        raise NotFoundError(
            f"there is no ledger {where}", hint="chandra-sagemaker async submit FILE..."
        )
    ledger = open_ledger(where, context.aws)
    try:
        yield ledger
    finally:
        ledger.close()
