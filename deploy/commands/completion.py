"""Command `completion`: script that completes commands and flags in a shell."""

from __future__ import annotations

import argparse

from deploy.commands.command import Command
from deploy.context import Context
from deploy.errors import ConfigError

SHELLS = ("bash", "zsh", "fish")
FILES = ("FILE", "FILE.png", "FOLDER", "INPUT", "PLACE", "WHERE")
"""Placeholders of arguments that may be a file or a folder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that reads the script")


def run(context: Context, options: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError as error:
        raise ConfigError(
            "completion needs shtab",
            hint="pip install shtab, or '.[deploy]' in the repository",
        ) from error
    parser = options.all_commands()
    _annotate(parser, files=shtab.FILE)
    script = shtab.complete(parser, options.shell)
    if context.console.as_json:
        context.console.print_result({"shell": options.shell, "script": script})
    else:
        context.console.write(script)
    return 0


def _annotate(parser: argparse.ArgumentParser, files: object) -> None:
    """Set what shtab reads: short descriptions, and which arguments are files."""
    for action in parser._actions:
        if action.metavar in FILES:
            vars(action)["complete"] = files
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                command = action.choices[choice.dest]
                command.description = choice.help
                _annotate(command, files)


COMMAND = Command(
    run=run,
    description="Print a script with which a shell completes the commands and flags of "
    "chandra-sagemaker. Write it to a file that the shell reads when it starts.",
    examples=(
        "completion bash >> ~/.bash_completion",
        "completion zsh > ~/.zfunc/_chandra-sagemaker",
        "completion fish > ~/.config/fish/completions/chandra-sagemaker.fish",
    ),
    add_arguments=add_arguments,
)
