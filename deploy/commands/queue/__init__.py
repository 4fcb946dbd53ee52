"""Thousands of documents: a queue, and machines that come and go by themselves."""

from __future__ import annotations

from deploy.commands.queue import deploy, fetch, submit, wait

NAME = "async"
HELP = "read thousands of documents through a queue, and pay for no idle machine"

COMMANDS = (deploy, submit, wait, fetch)
