"""Command `completion`: script that completes commands and flags in a shell."""

from __future__ import annotations

import argparse

from deploy.commands.command import Command
from deploy.context import Context
from deploy.errors import ConfigError

SHELLS = ("bash", "zsh", "fish")


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
    script = shtab.complete(options.all_commands(), options.shell)
    if context.console.as_json:
        context.console.result({"shell": options.shell, "script": script})
    else:
        context.console.write(script)
    return 0


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
