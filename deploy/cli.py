"""Command line: parses arguments, runs a command, turns errors into exit statuses."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from deploy.commands.batch.spelling import rewrite_old_spelling
from deploy.commands.command import Entry, Group
from deploy.commands.index import COMMANDS
from deploy.console import Console
from deploy.errors import BUG, INTERRUPTED, ConfigError, DeployError, Interrupted

if TYPE_CHECKING:
    # Imported at run time when a command runs, so that help starts fast.
    from deploy.aws import AWSClient
    from deploy.context import Context
    from deploy.image.build import Runner
    from deploy.weights.hub import Hub

__all__ = ["build_parser", "main"]

DESCRIPTION = "Deploy and operate Chandra OCR on Amazon SageMaker."
WIDTH = 88
BROKEN_PIPE = 141
"""Exit status of a program that ended by SIGPIPE, as a shell reports it."""


class Parser(argparse.ArgumentParser):
    """Parser that raises ConfigError for arguments that are wrong."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, hint=f"{self.prog} --help")


class Help(argparse.RawDescriptionHelpFormatter):
    """Formatter whose help has the same layout on every terminal and Python version.

    The README quotes the help texts, and a test compares them.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=WIDTH)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        names = ", ".join(action.option_strings)
        if isinstance(action, argparse.BooleanOptionalAction):
            return names
        metavar = self._metavar_formatter(action, action.dest.upper())(1)[0]
        return f"{names} {metavar}"


class Version(argparse.Action):
    """Flag that prints the installed version and exits.

    The version is looked up only when the flag is used.
    """

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        sys.stdout.write(f"{parser.prog} {_version()}\n")
        parser.exit()


def build_parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser of the program.

    Global flags are accepted before the command and after it. To add the arguments of a
    command, its module is imported. With `words`, the arguments of the command line,
    this is done only for the commands that they name.
    """
    root = Parser(
        prog="chandra-sagemaker",
        description=DESCRIPTION,
        epilog="`chandra-sagemaker COMMAND --help` describes a command.",
        allow_abbrev=False,
        formatter_class=Help,
    )
    root.add_argument(
        "--version", action=Version, nargs=0, help="show the version and exit"
    )
    _add_globals(root, is_root=True)
    shared = Parser(add_help=False, allow_abbrev=False)
    _add_globals(shared, is_root=False)
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        _add_command(commands, command, shared, words)
    return root


def _version() -> str:
    """Return the installed version, or a remark that the package is not installed."""
    # The version is defined in `handler`, which `deploy` must not import.
    from importlib import metadata

    try:
        return metadata.version("chandra-torchserve")
    except metadata.PackageNotFoundError:
        return "(version unknown: not installed)"


def _add_command(
    commands: argparse._SubParsersAction[Any],
    command: Entry | Group,
    shared: argparse.ArgumentParser,
    words: Sequence[str] | None,
) -> None:
    """Add a command to `commands`, with its arguments if `words` name it.

    `words` None adds the arguments of every command.
    """
    child = commands.add_parser(
        command.name,
        help=command.help,
        parents=[shared],
        allow_abbrev=False,
        formatter_class=Help,
    )
    if words is not None and command.name not in words:
        return
    if isinstance(command, Group):
        child.description = textwrap.fill(command.description, WIDTH)
        child.epilog = _epilog(command.examples)
        group = child.add_subparsers(dest="member", metavar="COMMAND", required=True)
        for entry in command.entries:
            _add_command(group, entry, shared, words)
        return
    loaded = command.load()
    child.description = textwrap.fill(loaded.description, WIDTH)
    child.epilog = _epilog(loaded.examples)
    loaded.add_arguments(child)
    # `completion` describes the parser of all commands.
    child.set_defaults(run=loaded.run, all_commands=build_parser)


def _epilog(examples: Sequence[str]) -> str:
    lines = [f"  chandra-sagemaker {example}" for example in examples]
    shown = "\n".join(["examples:", *lines, "", ""]) if lines else ""
    return f"{shown}Flags for every command are in chandra-sagemaker --help."


def _add_globals(target: argparse.ArgumentParser, *, is_root: bool) -> None:
    """Add the global flags.

    The root parser has their defaults and help texts. The parsers of commands accept
    the flags too, but without defaults, which would replace what the root has parsed.
    """
    group = target.add_argument_group("for every command")
    for flag, metavar, value, text in (
        (
            "--config",
            "FILE",
            Path("chandra.toml"),
            "path of the deployment's configuration (default chandra.toml)",
        ),
        ("--profile", "NAME", None, "AWS profile (default: that of AWS_PROFILE)"),
        ("--region", "REGION", None, "AWS region (overrides chandra.toml)"),
        ("--endpoint-url", "URL", None, "endpoint URL of an AWS-compatible server"),
    ):
        group.add_argument(
            flag,
            type=Path if flag == "--config" else str,
            metavar=metavar,
            default=value if is_root else argparse.SUPPRESS,
            help=text if is_root else argparse.SUPPRESS,
        )
    for flag, text in (
        (
            "--json",
            "write the result to stdout as one JSON object, and messages to stderr",
        ),
        ("--yes", "answer yes to every question"),
        ("--dry-run", "show what the command would do, without changing anything"),
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
    connect: Callable[..., AWSClient] | None = None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    runner: Runner | None = None,
    hub: Hub | None = None,
) -> int:
    """Run one command and return its exit status.

    Expected errors, Ctrl-C and bugs are printed on `console` and become exit statuses.
    The other arguments replace the system's collaborators in tests.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    # Read before the parser runs, because the parser may be what raises an error.
    console = console or Console(
        as_json="--json" in arguments, assume_yes="--yes" in arguments
    )
    context: Context | None = None
    try:
        arguments = rewrite_old_spelling(arguments)
        options = build_parser(arguments).parse_args(arguments)
        context = _context(
            options,
            console,
            connect=connect,
            clock=clock,
            sleep=sleep,
            runner=runner,
            hub=hub,
        )
        status: int = options.run(context, options)
    except DeployError as error:
        console.print_error(error)
        return error.exit_code
    except KeyboardInterrupt as interrupted:
        console.report_interrupt(
            interrupted.sentence
            if isinstance(interrupted, Interrupted)
            else context.journal.summary
            if context is not None
            else "this command had changed nothing"
        )
        return INTERRUPTED
    except BrokenPipeError:
        return _end_broken_pipe()
    except Exception as error:
        console.report_bug(f"{type(error).__name__}: {error}", traceback.format_exc())
        return BUG
    return status


def _context(
    options: argparse.Namespace,
    console: Console,
    *,
    connect: Callable[..., AWSClient] | None,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    runner: Runner | None,
    hub: Hub | None,
) -> Context:
    """Return the context of a command.

    A `connect`, `runner` or `hub` that is None is replaced by the real one.
    """
    from deploy.aws import AWSClient
    from deploy.context import Context
    from deploy.image.build import Subprocess
    from deploy.weights.hub import HuggingFace

    connect = connect or AWSClient.connect
    return Context(
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


def _end_broken_pipe() -> int:
    """Redirect stdout to /dev/null, and return the exit status of a broken pipe.

    It breaks if the reader of stdout closes it, as `head` does.
    """
    # Python flushes stdout when it exits, and would report the broken pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


if __name__ == "__main__":
    sys.exit(main())
