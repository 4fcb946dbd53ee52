"""Arguments in, exit status out; the one place where an error becomes a status."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn, Protocol

from deploy.aws import AWSClient
from deploy.commands import (
    alarms,
    batch,
    cost,
    dashboard,
    deploy,
    destroy,
    doctor,
    iam,
    image,
    init,
    invoke,
    list as list_,
    local,
    logs,
    metrics,
    model,
    plan,
    queue,
    rollback,
    schedule,
    start,
    status,
    stop,
    update,
)
from deploy.console import Console
from deploy.context import Context
from deploy.errors import BUG, INTERRUPTED, ConfigError, DeployError, Interrupted
from deploy.image.build import Runner, Subprocess
from deploy.weights.hub import Hub, HuggingFace

__all__ = ["COMMANDS", "leaves", "main", "parser"]

DESCRIPTION = """\
Chandra OCR on Amazon SageMaker: from an image to an endpoint and back.
"""
# As the shell reports a program that ended for want of a reader.
UNREAD = 141


class Parser(argparse.ArgumentParser):
    """What is wrong with a flag becomes an error like any other."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, hint=f"{self.prog} --help")


class Help(argparse.HelpFormatter):
    """As wide everywhere, and the same on every Python: the README holds it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=88)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        names = ", ".join(action.option_strings)
        if isinstance(action, argparse.BooleanOptionalAction):
            return names
        metavar = self._metavar_formatter(action, action.dest.upper())(1)[0]
        return f"{names} {metavar}"


class Command(Protocol):
    """What a module in `commands` has."""

    @property
    def NAME(self) -> str: ...  # noqa: N802
    @property
    def HELP(self) -> str: ...  # noqa: N802
    @property
    def add_arguments(self) -> Callable[[argparse.ArgumentParser], None]: ...
    @property
    def run(self) -> Callable[[Context, argparse.Namespace], int]: ...


class Group(Protocol):
    """Commands of one subject, such as `async submit`."""

    @property
    def NAME(self) -> str: ...  # noqa: N802
    @property
    def HELP(self) -> str: ...  # noqa: N802
    @property
    def COMMANDS(self) -> tuple[Command, ...]: ...  # noqa: N802


# In the order in which a newcomer needs them.
COMMANDS: tuple[Command | Group, ...] = (
    init,
    doctor,
    iam,
    image,
    model,
    plan,
    deploy,
    invoke,
    queue,
    status,
    list_,
    logs,
    metrics,
    update,
    rollback,
    stop,
    start,
    schedule,
    alarms,
    dashboard,
    cost,
    batch,
    local,
    destroy,
)


def parser() -> argparse.ArgumentParser:
    """Every command and flag; global flags go before the command or after it."""
    root = Parser(
        prog="chandra-sagemaker",
        description=DESCRIPTION,
        allow_abbrev=False,
        formatter_class=Help,
    )
    root.add_argument(
        "--version",
        action="version",
        version=f"%(prog)s {_version()}",
        help="say which one this is, and do nothing",
    )
    _add_globals(root, is_root=True)
    shared = Parser(add_help=False, allow_abbrev=False)
    _add_globals(shared, is_root=False)
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        _add_command(commands, command, shared)
    return root


def _version() -> str:
    """As it was installed: the service's own, which is not known here otherwise."""
    try:
        return metadata.version("chandra-torchserve")
    except metadata.PackageNotFoundError:
        return "of a checkout that is not installed"


def _add_command(
    commands: argparse._SubParsersAction[Any],
    command: Command | Group,
    shared: argparse.ArgumentParser,
) -> None:
    child = commands.add_parser(
        command.NAME,
        help=command.HELP,
        description=(command.__doc__ or "").strip(),
        epilog="Flags for every command are in chandra-sagemaker --help.",
        parents=[shared],
        allow_abbrev=False,
        formatter_class=Help,
    )
    members: tuple[Command, ...] = getattr(command, "COMMANDS", ())
    if members:
        group = child.add_subparsers(dest="member", metavar="COMMAND", required=True)
        for member in members:
            _add_command(group, member, shared)
        return
    command.add_arguments(child)  # type: ignore[union-attr]
    child.set_defaults(run=command.run)  # type: ignore[union-attr]


def leaves() -> list[tuple[str, ...]]:
    """Every command that does something, as it is typed."""
    return [
        words
        for command in COMMANDS
        for words in (
            [(command.NAME, member.NAME) for member in command.COMMANDS]
            if hasattr(command, "COMMANDS")
            else [(command.NAME,)]
        )
    ]


def _add_globals(target: argparse.ArgumentParser, *, is_root: bool) -> None:
    """In a command's own parser a flag that is not given must not hide the root's."""

    group = target.add_argument_group("for every command")
    for flag, metavar, value, text in (
        ("--config", "FILE", Path("chandra.toml"), "the deployment (default "
         "chandra.toml)"),
        ("--profile", "NAME", None, "a profile of the AWS configuration"),
        ("--region", "REGION", None, "in place of chandra.toml's"),
        ("--endpoint-url", "URL", None, "another AWS, such as one for tests"),
    ):  # fmt: skip
        group.add_argument(
            flag,
            type=Path if flag == "--config" else str,
            metavar=metavar,
            default=value if is_root else argparse.SUPPRESS,
            help=text if is_root else argparse.SUPPRESS,
        )
    for flag, text in (
        ("--json", "one JSON object on standard output, everything else beside it"),
        ("--yes", "ask nothing"),
        ("--dry-run", "say what would be done, and do nothing"),
    ):
        group.add_argument(
            flag,
            action="store_true",
            default=False if is_root else argparse.SUPPRESS,
            help=text if is_root else argparse.SUPPRESS,
        )


def main(
    arguments: Sequence[str] | None = None,
    *,
    console: Console | None = None,
    connect: Callable[..., AWSClient] = AWSClient.connect,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    runner: Runner | None = None,
    hub: Hub | None = None,
) -> int:
    """Run one command and return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Needed before the flags are read: they may be what is wrong.
    console = console or Console(
        as_json="--json" in arguments, assume_yes="--yes" in arguments
    )
    context: Context | None = None
    try:
        options = parser().parse_args(arguments)
        context = Context(
            config_path=options.config,
            console=console,
            connect=lambda region: connect(
                profile=options.profile,
                region=region,
                endpoint_url=options.endpoint_url,
            ),
            clock=clock,
            sleep=sleep,
            runner=runner or Subprocess(console.say),
            hub=hub or HuggingFace(),
            region=options.region,
            is_dry_run=options.dry_run,
        )
        status: int = options.run(context, options)
    except DeployError as error:
        console.error(error)
        return error.exit_code
    except KeyboardInterrupt as interrupted:
        console.report_interrupt(
            interrupted.sentence
            if isinstance(interrupted, Interrupted)
            else context.so_far
            if context is not None
            else "this command had changed nothing"
        )
        return INTERRUPTED
    except BrokenPipeError:
        return _unread()
    except Exception as error:
        console.report_bug(f"{type(error).__name__}: {error}", traceback.format_exc())
        return BUG
    return status


def _unread() -> int:
    """Return the exit status after a reader such as `head` has closed stdout."""
    # Python writes what is left at its end, and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return UNREAD


if __name__ == "__main__":
    sys.exit(main())
