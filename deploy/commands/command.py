"""Classes that describe a command: its module, its help and its function."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    # The program's help needs none of what a context imports.
    from deploy.context import Context

__all__ = ["Command", "Entry", "Group", "no_arguments"]

Run: TypeAlias = "Callable[[Context, argparse.Namespace], int]"


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no arguments, for commands that take none."""
    del parser


@dataclass(frozen=True, slots=True)
class Command:
    """Arguments, help and function of one command; its module names it COMMAND."""

    run: Run
    """Run the command and return its exit status."""
    description: str
    examples: tuple[str, ...]
    """Command lines without the program's name."""
    add_arguments: Callable[[argparse.ArgumentParser], None] = no_arguments


@dataclass(frozen=True, slots=True)
class Entry:
    """Name and one-line help of a command, and the module that it is imported from.

    The program's help lists entries, so that it starts without importing a command.
    """

    name: str
    help: str
    module: str

    def load(self) -> Command:
        command: Command = import_module(self.module).COMMAND
        return command


@dataclass(frozen=True, slots=True)
class Group:
    """Commands of one subject, such as `async submit`."""

    name: str
    help: str
    description: str
    entries: tuple[Entry, ...]
    examples: tuple[str, ...]
    """Command lines without the program's name."""
