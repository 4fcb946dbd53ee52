"""Find out why an endpoint is absent: stopped, stopped by its schedule, or lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from deploy.checks import Finding
from deploy.commands.endpoint.steps.preflight import has_call
from deploy.context import Context
from deploy.endpoint.schedule import entry_name, last_effect_time
from deploy.endpoint.snapshot import AccountReader
from deploy.errors import AccessDeniedError
from deploy.plan.actions import Action
from deploy.resources import DatedConfig, stopped_config

__all__ = ["Absence", "Reason", "absence_notes", "explain_absence", "schedule_notes"]

# EventBridge Scheduler calls within the minute, and the endpoint is listed soon after.
MAX_START_DELAY = timedelta(minutes=5)


class Reason(Enum):
    """Reasons why an endpoint that has configs does not exist."""

    STOPPED = "stopped"
    SCHEDULED = "stopped by the schedule"
    OVERDUE = "missing, though its schedule has started it"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Absence:
    """An endpoint that has configs and does not exist."""

    name: str
    config: str
    """The config that the endpoint had last, or was to have."""
    reason: Reason
    was_live: bool
    flag: str
    """Flag of a command for the same endpoint: " --async", or empty."""
    is_schedule_known: bool = True

    @property
    def sentence(self) -> str:
        """The absent endpoint and the evidence for the reason."""
        last = f"its last config is {self.config}"
        if self.reason is Reason.STOPPED:
            return f"endpoint {self.name} is stopped and costs nothing; {last}"
        if self.reason is Reason.SCHEDULED:
            return (
                f"endpoint {self.name} is stopped by the schedule and costs nothing; "
                f"{last}"
            )
        if not self.was_live:
            return (
                f"endpoint {self.name} is missing, and its config {self.config} is not "
                "known to have been in service"
            )
        if self.reason is Reason.OVERDUE:
            return (
                f"endpoint {self.name} is missing: its schedule failed to start it, "
                f"or something deleted it since; {last}"
            )
        unknown = "" if self.is_schedule_known else " (which could not be read)"
        return (
            f"endpoint {self.name} is missing: neither `stop` nor a schedule{unknown} "
            "stopped it, so something else deleted it, or an update that deletes the "
            f"endpoint first was interrupted; {last}"
        )

    @property
    def is_lost(self) -> bool:
        """True if the endpoint is missing without a known stop."""
        return self.reason in (Reason.MISSING, Reason.OVERDUE)

    @property
    def next_command(self) -> str:
        """Command that brings the endpoint back."""
        if not self.was_live:
            return f"chandra-sagemaker {'async ' if self.flag else ''}deploy"
        return f"chandra-sagemaker start{self.flag}"


def explain_absence(
    context: Context,
    name: str,
    history: Sequence[DatedConfig],
    seen: AccountReader | None = None,
) -> Absence | None:
    """Return why an endpoint does not exist; None if it was never deployed.

    Args:
        name: name of the endpoint, which does not exist.
        history: its configs, the last that was live first.
        seen: snapshot from which its schedule is read; None: from the account.
    """
    if not history:
        return None
    last = history[0]
    is_async = name != context.config.name
    entries: Sequence[Mapping[str, Any]] | None = ()
    try:
        # Only the real-time endpoint has a schedule.
        account = seen or context.account
        entries = () if is_async else account.schedule_entries(name)
    except AccessDeniedError:
        entries = None
    return Absence(
        name=name,
        config=last.config,
        reason=_reason(name, history, entries or (), context.now),
        was_live=last.since is not None,
        flag=" --async" if is_async else "",
        is_schedule_known=entries is not None,
    )


def _reason(
    name: str,
    history: Sequence[DatedConfig],
    entries: Sequence[Mapping[str, Any]],
    now: datetime,
) -> Reason:
    by_name = {entry["Name"]: entry for entry in entries}
    start = by_name.get(entry_name(name, "start"), {})
    stop = by_name.get(entry_name(name, "stop"), {})
    started, stopped = (
        last_effect_time(start, now - MAX_START_DELAY),
        last_effect_time(stop, now),
    )
    since = history[0].since
    if stopped is not None and since is not None and stopped < since:
        # The endpoint was deployed after that stop, so something else deleted it.
        stopped = None
    # The mark of `stop` does not count if the schedule has started the endpoint since.
    marked = stopped_config(history)
    marked_at = marked.stopped if marked else None
    if marked_at is not None and (started is None or marked_at >= started):
        return Reason.STOPPED
    if stopped is not None and (started is None or stopped > started):
        return Reason.SCHEDULED
    return Reason.MISSING if started is None else Reason.OVERDUE


def absence_notes(context: Context, name: str, seen: AccountReader) -> list[Finding]:
    """Return a note if the endpoint does not exist though it was not stopped."""
    if seen.read_endpoint(name) is not None:
        return []
    absence = explain_absence(context, name, seen.history(name), seen)
    if absence is None or not absence.is_lost or not absence.was_live:
        return []
    return [Finding("endpoint", False, absence.sentence)]


def schedule_notes(
    context: Context, name: str, actions: Sequence[Action], seen: AccountReader
) -> list[Finding]:
    """Return a note if the actions change an endpoint whose schedule cannot be read."""
    changes = ("create_endpoint", "update_endpoint")
    is_changing = any(has_call(actions, operation) for operation in changes)
    if name != context.config.name or not is_changing:
        return []
    try:
        seen.schedule_entries(name)
    except AccessDeniedError as error:
        return [
            Finding(
                "schedule",
                False,
                f"whether a schedule starts {name} could not be read; a schedule "
                f"would continue to start the config that it names: {error.message}",
                error.hint,
            )
        ]
    return []
