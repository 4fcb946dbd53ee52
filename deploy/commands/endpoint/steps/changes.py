"""List the changes of a command to an endpoint: settings, reverts and price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deploy.commands.endpoint.steps.preflight import has_call
from deploy.context import Context
from deploy.endpoint.planner import config_to_change, described_config
from deploy.endpoint.running import read_running_endpoint
from deploy.endpoint.snapshot import AccountReader
from deploy.errors import NotFoundError
from deploy.machines.prices import highest_hourly_price, price_text
from deploy.plan.actions import Action
from deploy.resources import (
    Difference,
    EndpointState,
    Machines,
    Running,
    Target,
    differences_between,
)

__all__ = [
    "Change",
    "change_by_flags",
    "change_lines",
    "change_to_file",
    "confirm_change",
    "deletes_what_serves",
    "price_of",
    "report_change",
]

INSTANCE_COUNT = "instance_count"
WITHOUT_MACHINES = ("Failed", "OutOfService", "Deleting")


@dataclass(frozen=True, slots=True)
class Change:
    """Settings and machines of an endpoint, before and after a command."""

    new: Machines
    old: Machines | None = None
    """None: no machine runs."""
    differences: tuple[Difference, ...] = ()
    reverts: tuple[Difference, ...] = ()
    """Changes that revert a setting of update, rollback or another program."""
    unclear: tuple[Difference, ...] = ()
    """Changes of settings whose origin is not known."""
    is_most: bool = False
    """Machines are scaled: prices are for the largest number allowed."""

    @property
    def is_dearer(self) -> bool:
        """True if machines are started or may cost more, or if the price is unknown."""
        if self.old is None:
            return True
        before, after = price_of(self.old), price_of(self.new)
        if before is None or after is None:
            return self.old != self.new
        return after > before

    def to_json(self) -> dict[str, Any]:
        """Return the part of a command's JSON that describes changes."""
        return {
            "changes": [each.to_json() for each in self.differences],
            "reverts": [each.to_json() for each in (*self.reverts, *self.unclear)],
            "price_an_hour": {
                "before": price_of(self.old),
                "after": price_of(self.new),
            },
        }


def price_of(machines: Machines | None) -> float | None:
    """Return US dollars per hour, or None if no price is known."""
    if machines is None:
        return 0.0
    return highest_hourly_price(machines.instance_types, machines.instance_count)


def change_by_flags(
    running: Running, edited: Running, state: EndpointState | None
) -> Change:
    """Return the change that an update makes to a running endpoint."""
    differences = differences_between(running.settings, edited.settings)
    old = None if _is_without_machines(state) else running.variant
    return Change(edited.variant, old, tuple(differences))


def change_to_file(context: Context, target: Target, seen: AccountReader) -> Change:
    """Return the change that `deploy` makes to a running endpoint.

    A setting counts as reverted if the endpoint differs from the config that `deploy`
    last made from the file: an update, a rollback or another program changed it since.
    """
    name = target.name
    state, history = seen.read_endpoint(name), seen.history(name)
    new = Machines(target.variant.instance_types, target.variant.instance_count)
    if state is None and not history:
        return Change(new)
    config = config_to_change(state, history)
    try:
        running = read_running_endpoint(
            context.aws, name, config, state, with_tags=False
        )
    except NotFoundError:
        # Without its config there is nothing to compare with.
        return Change(new)
    old = None if _is_without_machines(state) else running.variant
    described = described_config(history)
    base: Mapping[str, str] | None = None
    if described == running.config.name:
        base = replace(running, instance_count=None).settings
    elif described is not None:
        try:
            base = read_running_endpoint(
                context.aws, name, described, None, with_tags=False
            ).settings
        except NotFoundError:
            # The settings that the file had at the last `deploy` are not known.
            base = None
    differences = differences_between(running.settings, target.settings)
    if state is not None and state.is_scaled:
        # The number of machines is the scaling policy's, before and after.
        differences = [each for each in differences if each.setting != INSTANCE_COUNT]
    reverts = [d for d in differences if base and d.old != base.get(d.setting)]
    unclear = differences if base is None else []
    return Change(new, old, tuple(differences), tuple(reverts), tuple(unclear))


def _is_without_machines(state: EndpointState | None) -> bool:
    return state is None or state.status in WITHOUT_MACHINES


def report_change(context: Context, change: Change, actions: Sequence[Action]) -> None:
    """Print the changes, the reverted settings, and the price before and after."""
    for line in change_lines(change):
        context.console.say(line)
    before, after = price_of(change.old), price_of(change.new)
    beside = ""
    if has_call(actions, "update_endpoint") and before and after:
        beside = f"; {price_text(before + after)} while old and new machines run"
    most = ", at most" if change.is_most else ""
    context.console.say(
        f"price an hour{most}: {_rate(before)} -> {_rate(after)}{beside}"
    )


def change_lines(change: Change) -> list[str]:
    """Return the changes in groups under headings, the reverted or unclear last."""
    others = [
        each
        for each in change.differences
        if each not in change.reverts and each not in change.unclear
    ]
    groups = (
        ("changes:", others),
        ("reverts what update, rollback or another program has set:", change.reverts),
        ("changes (it is not known what set them before):", change.unclear),
    )
    return [
        line
        for heading, differences in groups
        if differences
        for line in (heading, *(f"  {each.sentence}" for each in differences))
    ]


def confirm_change(
    context: Context,
    change: Change,
    actions: Sequence[Action],
    state: EndpointState | None,
    name: str,
) -> bool:
    """Ask at a terminal before a change that costs more or reverts a setting.

    No question is asked before a serving endpoint is deleted: `confirm_recreation`
    asks then.
    """
    if context.is_dry_run or deletes_what_serves(state, actions):
        return True
    reasons = []
    if change.is_dearer:
        before, after = price_of(change.old), price_of(change.new)
        most = "up to " if change.is_most else ""
        now = f"(now {price_text(before)} an hour)" if before is not None else ""
        reasons.append(
            f"run endpoint {name}, whose price is not known here {now}".rstrip()
            if after is None
            else f"let endpoint {name} cost {most}{price_text(after)} an hour "
            f"{now}".rstrip()
        )
    num_reverted = len(change.reverts) + len(change.unclear)
    if num_reverted:
        settings = "setting" if num_reverted == 1 else "settings"
        reasons.append(f"change back the {num_reverted} {settings} above")
    return not reasons or context.console.agree(f"{' and '.join(reasons)}?")


def deletes_what_serves(state: EndpointState | None, actions: Sequence[Action]) -> bool:
    """Return True if the actions delete an endpoint that may be serving."""
    if not has_call(actions, "delete_endpoint"):
        return False
    return state is not None and state.status not in ("Failed", "OutOfService")


def _rate(price: float | None) -> str:
    return "not known here" if price is None else price_text(price)
