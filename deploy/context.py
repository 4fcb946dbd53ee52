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
from deploy.errors import ConfigError, DeployError
from deploy.image.build import Runner
from deploy.monitoring.logs import LogReader
from deploy.plan.actions import Action, Call
from deploy.plan.executor import Executor, begun, show
from deploy.resources import Identity, log_group
from deploy.weights.hub import Hub

__all__ = ["MEND_REQUEST", "WHAT_IS_MISSING", "Context"]

MEND_REQUEST = (
    "change it in chandra.toml or in the flag that gave it; what is newer than boto3 "
    "needs pip install --upgrade boto3"
)
WHAT_IS_MISSING = "next: chandra-sagemaker doctor says what is still missing"


@dataclass(frozen=True, slots=True)
class Journal:
    """Calls that a command has made, for the message after Ctrl-C."""

    _sentences: list[str] = field(default_factory=list)

    def add(self, actions: Sequence[Action]) -> None:
        """Record the calls among actions that were executed."""
        self._sentences.extend(a.sentence for a in actions if isinstance(a, Call))

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
    """Connect to a region, or to that of the profile."""
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    runner: Runner
    hub: Hub
    region: str | None = None
    is_dry_run: bool = False
    journal: Journal = field(default_factory=Journal)

    @cached_property
    def config(self) -> DeployConfig:
        config = read_config(self.config_path)
        return replace(config, region=self.region) if self.region else config

    @cached_property
    def aws(self) -> AWSClient:
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

    def run(
        self,
        actions: Sequence[Action],
        *,
        endpoint: str | None = None,
        timeout_seconds: float = 3600,
        is_waiting: bool = True,
    ) -> None:
        """Execute a plan; with --dry-run, print it.

        While it waits, the log of `endpoint` is shown; None: the endpoint of the
        configuration. Raises ConfigError before the first call if AWS would reject a
        call for its form.
        """
        planned = begun(actions, is_waiting=is_waiting)
        if refused := self.refused(planned):
            # Checked before the first call, because half a plan is worse than none.
            raise ConfigError(refused[0], hint=MEND_REQUEST)
        if self.is_dry_run:
            show(planned, self.console)
            return
        reader = LogReader(
            self.aws,
            log_group(endpoint or self.config.name),
            since=self.now - timedelta(seconds=5),
        )
        Executor(
            self.aws,
            self.account,
            self.console,
            clock=self.clock,
            sleep=self.sleep,
            log_lines=lambda: _messages(reader),
            timeout_seconds=timeout_seconds,
            is_waiting=is_waiting,
            flag="" if endpoint in (None, self.config.name) else " --async",
        ).run(actions)
        self.journal.add(planned)

    def refused(self, actions: Sequence[Action]) -> list[str]:
        """Return a sentence for each call that AWS would reject for its form."""
        return [
            f"AWS would refuse to {action.sentence}: {'; '.join(problems)}"
            for action in actions
            if isinstance(action, Call) and (problems := self.aws.violations(action))
        ]


def _messages(reader: LogReader) -> list[str]:
    """Return new log lines; without them, a deployment goes on all the same."""
    try:
        return [event.message for event in reader.read()]
    except DeployError:
        return []
