"""Flags that several verbs of `transform` have."""

from __future__ import annotations

import argparse
from pathlib import Path

from deploy.errors import ConfigError

__all__ = [
    "add_job_argument",
    "add_job_arguments",
    "add_timeout_argument",
    "check_job_arguments",
]

MAX_INSTANCES = 100


def add_job_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "job", metavar="JOB", help="name of a job, as `transform status` lists it"
    )


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the verbs that start a job."""
    parser.add_argument(
        "--force",
        action="store_true",
        help="read, and pay for, documents again that have a result or were submitted "
        "before",
    )
    parser.add_argument(
        "--instance-type",
        metavar="TYPE",
        help="instance type (overrides transform.instance_type)",
    )
    machines = parser.add_mutually_exclusive_group()
    machines.add_argument(
        "--instance-count",
        type=int,
        metavar="N",
        help="number of machines (default: planned from the number of pages)",
    )
    machines.add_argument(
        "--within",
        type=float,
        metavar="HOURS",
        help="choose enough machines to finish within HOURS (default: about 2 hours)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="folder with measurements of pages per second (default: those of this "
        "package)",
    )
    parser.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="wait until the job has ended (default)",
    )
    add_timeout_argument(parser)


def add_timeout_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="stop waiting after SECONDS; the job continues (default: no limit)",
    )


def check_job_arguments(options: argparse.Namespace) -> None:
    """Raise ConfigError for a number that is out of range."""
    more = f"chandra-sagemaker {options.command} {options.member} --help"
    count = options.instance_count
    if count is not None and not 1 <= count <= MAX_INSTANCES:
        raise ConfigError(f"--instance-count must be 1 to {MAX_INSTANCES}", hint=more)
    if options.within is not None and options.within <= 0:
        raise ConfigError("--within must be above 0", hint=more)
