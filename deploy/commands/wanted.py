"""What deploy, update and plan share: flags over the file, checks before the calls."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from deploy.checks import Finding, checks_of
from deploy.commands.absent import absence_notes, schedule_notes
from deploy.commands.changes import (
    Change,
    confirm_change,
    deletes_what_serves,
    report_change,
)
from deploy.commands.preflight import (
    image_checks,
    role_checks,
    weights_checks,
)
from deploy.commands.quotas import quota_checks
from deploy.config import DeployConfig, is_secret
from deploy.context import Context
from deploy.endpoint.planner import differences
from deploy.errors import ConfigError, ResourceFailedError
from deploy.machines.prices import price_lines
from deploy.plan.actions import Action, Call
from deploy.plan.executor import begun
from deploy.resources import HIDDEN, Target

__all__ = [
    "UNNOTED",
    "add_machine_arguments",
    "add_wait_arguments",
    "blaming",
    "carried_out",
    "checked",
    "compare",
    "listed",
    "may_go_on",
    "pairs",
    "refuse_if_fatal",
    "seconds",
    "with_flags",
]

UNWATCHED = (
    "note: there are no alarms, so nothing brings the old machines back when the new "
    "ones answer with errors: chandra-sagemaker alarms"
)
UNNOTED = (
    "next: the same command without --no-wait; until then rollback and the schedule "
    "do not know of it"
)


def add_machine_arguments(
    parser: argparse.ArgumentParser, overrides: str = "chandra.toml"
) -> None:
    parser.add_argument(
        "--instance-type",
        action="append",
        metavar="TYPE",
        help=f"instance type (overrides {overrides}); repeat it for a second choice",
    )
    parser.add_argument(
        "--instance-count",
        type=int,
        metavar="N",
        help=f"number of machines (overrides {overrides})",
    )
    parser.add_argument(
        "--image",
        metavar="URI",
        help=f"image URI with a digest (overrides {overrides})",
    )


def add_wait_arguments(
    parser: argparse.ArgumentParser, until: str = "the endpoint is in service"
) -> None:
    parser.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help=f"wait until {until} (default)",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=3600,
        metavar="SECONDS",
        help="stop waiting after SECONDS; the endpoint goes on (default 3600)",
    )


def seconds(text: str) -> float:
    """What a person types for --timeout."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    # Neither is what `nan` and `inf` are.
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"seconds are a number above 0, not {text}")
    return value


@contextmanager
def blaming(options: argparse.Namespace) -> Iterator[None]:
    """What is wrong with a setting is wrong with the flag that gave it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(
            error.message, hint=f"chandra-sagemaker {options.command} --help"
        ) from error


def with_flags(config: DeployConfig, options: argparse.Namespace) -> DeployConfig:
    """A flag beats the file."""
    with blaming(options):
        return _changed(config, options)


def _changed(config: DeployConfig, options: argparse.Namespace) -> DeployConfig:
    changes: dict[str, object] = {}
    if options.instance_type:
        changes["instance_types"] = tuple(options.instance_type)
    if options.instance_count is not None:
        changes["instance_count"] = options.instance_count
    for flag in ("startup_timeout", "download_timeout"):
        if getattr(options, flag, None) is not None:
            changes[f"{flag}_seconds"] = getattr(options, flag)
    if getattr(options, "env", None):
        changes["environment"] = {**config.endpoint.environment, **pairs(options.env)}
    endpoint = replace(config.endpoint, **changes)  # type: ignore[arg-type]
    config = replace(config, endpoint=endpoint)
    if options.image is not None:
        config = replace(config, image=config.image.at(options.image))
    return config


def pairs(items: Sequence[str]) -> dict[str, str]:
    """Return the variables of --env; raises ConfigError for one without a value."""
    found = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator:
            # What was given may be a secret, put in the wrong place.
            raise ConfigError(
                "--env takes NAME=VALUE", hint="chandra-sagemaker update --env A=1"
            )
        found[name] = value
    return found


def refuse_if_fatal(context: Context, findings: Sequence[Finding]) -> None:
    """Say what is worth knowing; raise what would fail."""
    for finding in findings:
        if not finding.is_fatal:
            context.console.say(f"note: {finding.sentence}")
            if finding.hint:
                context.console.say(f"  try: {finding.hint}")
    fatal = [finding for finding in findings if finding.is_fatal]
    if fatal:
        raise ConfigError(
            "; ".join(finding.sentence for finding in fatal), hint=fatal[0].hint
        )


def checked(context: Context, config: DeployConfig, actions: Sequence[Action]) -> None:
    refuse_if_fatal(
        context,
        [
            *checks_of(config),
            *quota_checks(context, config, actions),
            *weights_checks(context, config, actions),
            *image_checks(context, config, actions),
            *role_checks(context, config, actions),
            *absence_notes(context, config.name),
            *schedule_notes(context, config.name, actions),
        ],
    )


def may_go_on(context: Context, name: str, actions: Sequence[Action]) -> bool:
    """Ask before an endpoint that may be serving is deleted; --yes answers."""
    if context.is_dry_run or not deletes_what_serves(context, name, actions):
        return True
    return context.console.confirm(
        f"delete endpoint {name} and make it again? until then its callers get errors"
    )


def listed(
    actions: Sequence[Action], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """The actions of a command that waits or does not, for programs.

    An environment that was set elsewhere may hold credentials, which are left out.
    """
    return [
        {name: _without_secrets(value) for name, value in action.to_json().items()}
        for action in begun(actions, is_waiting=options.wait)
    ]


def _without_secrets(value: Any, name: str = "") -> Any:
    """Return parameters of a call as they may be shown."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN
            if name == "Environment" and is_secret(key, str(item))
            else _without_secrets(item, key)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without_secrets(item) for item in value]
    return value


def carried_out(
    context: Context,
    options: argparse.Namespace,
    config: DeployConfig,
    wanted: Target,
    actions: Sequence[Action],
    data: Mapping[str, Any],
    change: Change,
) -> int | None:
    """Check, ask and do; the exit status where the command ends there.

    None where the actions were made, and what became of them is to be told.
    """
    if not actions:
        context.console.result(
            data, [f"endpoint {wanted.name} is as described: no changes"]
        )
        return 0
    checked(context, config, actions)
    for line in price_lines(config.endpoint):
        context.console.say(line)
    if config.update.use_alarms and _is_unwatched(actions):
        is_ours = wanted.name == context.config.name
        flag = "" if is_ours else " --async"
        context.console.say(f"{UNWATCHED}{flag} --create")
    report_change(context, change, actions)
    is_agreed = confirm_change(context, wanted.name, change, actions)
    if not is_agreed or not may_go_on(context, wanted.name, actions):
        context.console.declined()
        return 1
    context.run(actions, timeout_seconds=options.timeout, is_waiting=options.wait)
    if context.is_dry_run:
        context.console.result(data)
        return 0
    return None


def _is_unwatched(actions: Sequence[Action]) -> bool:
    """An update that nothing would bring back once its machines are healthy."""
    return any(
        "AutoRollbackConfiguration" not in action.params.get("DeploymentConfig", {})
        for action in actions
        if isinstance(action, Call) and action.operation == "update_endpoint"
    )


def compare(context: Context, wanted: Target) -> None:
    """Raise an error if the endpoint differs from `wanted` after the wait.

    SageMaker's waiter counts a rollback as a success.
    """
    state = context.account.endpoint(wanted.name)
    found = ["it is gone"] if state is None else differences(wanted, state)
    if found:
        raise ResourceFailedError(
            f"endpoint {wanted.name} is not as it was asked for: {'; '.join(found)}",
            hint="chandra-sagemaker status",
        )
