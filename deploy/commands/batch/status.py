"""What `transform` can be told: to read, or to look after a job."""

from __future__ import annotations

import argparse
from pathlib import Path

from deploy.batch.job import TransformState
from deploy.batch.planner import stop
from deploy.commands.batch.fetch import fetch
from deploy.commands.batch.jobs import found, transforms_of
from deploy.commands.batch.report import report_summary
from deploy.commands.batch.request import wanted_again, wanted_from
from deploy.commands.batch.start import started
from deploy.commands.batch.watch import summed_up, watched
from deploy.commands.request_options import add_request_options, request_options
from deploy.console import minute, table
from deploy.context import Context
from deploy.documents.document import S3
from deploy.errors import ConfigError

NAME = "transform"
HELP = "read a bucket of documents by batch transform; watch, stop or retry a job"

USAGE = """chandra-sagemaker transform [options] INPUT OUTPUT
       chandra-sagemaker transform [options] --retry-failed JOB
       chandra-sagemaker transform [options] --retry-all JOB
       chandra-sagemaker transform {status,wait,stop} [JOB]
       chandra-sagemaker transform [options] fetch JOB... --into WHERE"""
MORE = "chandra-sagemaker transform --help"
ACCEPT = {
    "md": "text/markdown",
    "html": "text/html",
    "text": "text/plain",
    "json": "application/json",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = USAGE
    parser.add_argument(
        "words",
        nargs="*",
        metavar="INPUT OUTPUT",
        help="or status, wait, stop or fetch, and a JOB",
    )
    parser.add_argument(
        "--format",
        choices=tuple(ACCEPT),
        help="of the results (default md); json has pages, blocks and failures",
    )
    add_request_options(parser)
    parser.add_argument(
        "--retry-failed",
        metavar="JOB",
        help="a job for the documents of JOB that have no result, or lack pages, after "
        "a transient error",
    )
    parser.add_argument(
        "--retry-all",
        metavar="JOB",
        help="also documents with a permanent error, such as damaged files",
    )
    parser.add_argument(
        "--hidden",
        action="store_true",
        help="also files of folders whose name begins with a dot",
    )
    parser.add_argument(
        "--into",
        metavar="WHERE",
        help="fetch: a folder or s3://bucket/prefix, where a.pdf becomes a.pdf.md",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="read again, and pay again for, documents that have a result or were "
        "submitted before; fetch: overwrite files with other contents",
    )
    parser.add_argument(
        "--instance-type", metavar="TYPE", help="in place of transform.instance_type"
    )
    machines = parser.add_mutually_exclusive_group()
    machines.add_argument(
        "--instance-count",
        type=int,
        metavar="N",
        help="in place of what is planned from the pages",
    )
    machines.add_argument(
        "--within", type=float, metavar="HOURS", help="as many machines as that takes"
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="measurements of pages a second (default: those of this package)",
    )
    parser.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="until the job has ended (default)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="stop waiting after this long; the job goes on (default: never)",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    if options.instance_count is not None and not 1 <= options.instance_count <= 100:
        raise ConfigError("--instance-count must be 1 to 100", hint=MORE)
    if options.within is not None and options.within <= 0:
        raise ConfigError("--within must be above 0", hint=MORE)
    words: list[str] = options.words
    again = options.retry_failed or options.retry_all
    if again is not None:
        flag = "--retry-failed" if options.retry_failed else "--retry-all"
        if words:
            raise ConfigError(
                f"{flag} takes its input and output from the job",
                hint=f"chandra-sagemaker transform {flag} {again}",
            )
        _refuse_ignored(options, flag, "--format", "--hidden", "--into")
        if request_options(options):
            raise ConfigError(
                f"{flag} takes the request options from the job",
                hint=f"chandra-sagemaker transform {flag} {again}",
            )
        wanted = wanted_again(context, options, again)
        return wanted if isinstance(wanted, int) else started(context, options, wanted)
    if words and words[0] in VERBS and not any(w.startswith(S3) for w in words[1:]):
        fetching = () if words[0] == "fetch" else ("--into",)
        _refuse_ignored(options, words[0], "--format", "--hidden", *fetching)
        return VERBS[words[0]](context, options, words[1:])
    if len(words) != 2:
        raise ConfigError(
            "transform takes INPUT and OUTPUT, or status, wait, stop or fetch and a "
            "JOB",
            hint=MORE,
        )
    if not words[1].startswith(S3):
        raise ConfigError(
            f"OUTPUT must be s3://bucket/prefix, not {words[1]}", hint=MORE
        )
    _refuse_ignored(options, "INPUT OUTPUT", "--into")
    accept = ACCEPT[options.format or "md"]
    wanted = wanted_from(context, options, words[0], words[1], accept)
    return wanted if isinstance(wanted, int) else started(context, options, wanted)


def _refuse_ignored(options: argparse.Namespace, usage: str, *flags: str) -> None:
    """Raise ConfigError for those of the flags that were given and have no effect."""
    ignored = [
        flag
        for flag in flags
        if getattr(options, flag.removeprefix("--")) not in (None, False)
    ]
    if ignored:
        raise ConfigError(
            f"{' and '.join(ignored)} cannot be given with transform {usage}", hint=MORE
        )


def _status(context: Context, options: argparse.Namespace, names: list[str]) -> int:
    del options
    if names:
        state = found(context, _one(names))
        return report_summary(context, summed_up(context, state))
    jobs = list(transforms_of(context).ours())
    rows = [(job.name, job.status, minute(job.created)) for job in jobs]
    context.console.result(
        {
            "jobs": [
                {"job": job.name, "status": job.status, "created": job.created}
                for job in jobs
            ]
        },
        table([("JOB", "STATUS", "CREATED"), *rows])
        if rows
        else [f"deployment {context.config.name} has had no transform job"],
    )
    return 0


def _wait(context: Context, options: argparse.Namespace, names: list[str]) -> int:
    state = found(context, _one(names))
    summary = (
        watched(context, state, timeout_seconds=options.timeout)
        if state.is_changing
        else summed_up(context, state)
    )
    return report_summary(context, summary)


def _stop(context: Context, options: argparse.Namespace, names: list[str]) -> int:
    state = found(context, _one(names))
    actions = stop(state)
    context.run(actions)
    data = {
        "job": state.name,
        "stopped": bool(actions) and not context.is_dry_run,
        "actions": [action.to_json() for action in actions],
    }
    context.console.result(data, _stop_lines(context, state, bool(actions)))
    return 0


def _stop_lines(context: Context, state: TransformState, is_stopped: bool) -> list[str]:
    if context.is_dry_run and is_stopped:
        return []
    if not is_stopped:
        return [f"transform job {state.name} is {state.status}: nothing to stop"]
    return [
        f"transform job {state.name} is being stopped, which takes a minute; what was "
        f"read stays in {state.output}",
        "the same transform command again, or transform --retry-failed "
        f"{state.name}, goes on from there",
    ]


def _one(names: list[str]) -> str:
    if len(names) != 1:
        raise ConfigError(
            "name one JOB", hint="chandra-sagemaker transform status lists them"
        )
    return names[0]


VERBS = {"status": _status, "wait": _wait, "stop": _stop, "fetch": fetch}
