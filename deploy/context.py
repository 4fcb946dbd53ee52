"""Context of a command: configuration, account, console, clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from deploy.aws import AWSClient
from deploy.config import DeployConfig, read_config
from deploy.console import Console
from deploy.endpoint.account import Account
from deploy.endpoint.planner import Planner
from deploy.errors import ConfigError
from deploy.image.build import Runner
from deploy.monitoring.logs import LogReader
from deploy.plan.actions import Action, Call
from deploy.plan.executor import ExecutionOptions, Executor
from deploy.resources import Identity, log_group
from deploy.weights.hub import Hub

__all__ = ["DOCTOR_NEXT_STEP", "FIX_REQUEST_HINT", "Context"]

FIX_REQUEST_HINT = (
    "change the setting in chandra.toml or the flag; if boto3 is too old to know it, "
    "run pip install --upgrade boto3"
)
DOCTOR_NEXT_STEP = "next: chandra-sagemaker doctor shows what is still missing"


@dataclass(frozen=True, slots=True)
class Journal:
    """Calls that a command has made, for the message after Ctrl-C."""

    _sentences: list[str] = field(default_factory=list)

    def add(self, call: Call) -> None:
        """Record a call that was made."""
        self._sentences.append(call.sentence)

    @property
    def summary(self) -> str:
        """Sentence on the calls that an interrupted command has made."""
        if not self._sentences:
            return "this command had changed nothing"
        return (
            f"done: {'; '.join(self._sentences)}. `chandra-sagemaker status` shows "
            "what there is now"
        )


@dataclass(frozen=True)
class Context:
    """Configuration, account and tools of a command; made once per run."""

    config_path: Path
    console: Console
    connect: Callable[[str | None], AWSClient]
    """Return a client of a region; None stands for the region of the profile."""
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    runner: Runner
    hub: Hub
    region: str | None = None
    is_dry_run: bool = False
    journal: Journal = field(default_factory=Journal)

    @cached_property
    def config(self) -> DeployConfig:
        """Configuration in `config_path`, with the region of --region.

        The file is read on first access, which raises ConfigError if it is invalid.
        """
        config = read_config(self.config_path)
        return replace(config, region=self.region) if self.region else config

    @cached_property
    def aws(self) -> AWSClient:
        """Client of the region of the configuration, which is created once."""
        return self.connect(self.config.region)

    @cached_property
    def account(self) -> Account:
        return Account(self.aws)

    @property
    def identity(self) -> Identity:
        return self.aws.identity()

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)

    @property
    def planner(self) -> Planner:
        return Planner(self.account, self.identity, self.now)

    def executor(
        self,
        *,
        endpoint: str | None = None,
        timeout_seconds: float = 3600,
        is_waiting: bool = True,
    ) -> Executor:
        """Return an executor for the actions of a plan; with --dry-run it prints them.

        While it waits, it prints the log of `endpoint`. None stands for the real-time
        endpoint of the configuration.
        """
        return Executor(
            self.aws,
            self.account,
            self.console,
            ExecutionOptions(
                timeout_seconds=timeout_seconds,
                is_waiting=is_waiting,
                is_dry_run=self.is_dry_run,
                flag="" if endpoint in (None, self.config.name) else " --async",
            ),
            clock=self.clock,
            sleep=self.sleep,
            log=LogReader(
                self.aws,
                log_group(endpoint or self.config.name),
                since=self.now - timedelta(seconds=5),
            ),
            check=self._check,
            on_done=self.journal.add,
        )

    def _check(self, actions: Sequence[Action]) -> None:
        """Raise ConfigError if AWS would reject a call, before the first is made."""
        if rejected := self.rejections(actions):
            raise ConfigError(rejected[0], hint=FIX_REQUEST_HINT)

    def rejections(self, actions: Sequence[Action]) -> list[str]:
        """Return a sentence for each call whose parameters AWS would reject."""
        return [
            f"AWS would refuse to {action.sentence}: {'; '.join(problems)}"
            for action in actions
            if isinstance(action, Call) and (problems := self.aws.violations(action))
        ]
