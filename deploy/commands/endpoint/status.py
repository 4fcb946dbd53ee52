"""Command `status`: state and cost of the endpoints, and recent batch jobs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from deploy.batch.jobs import TransformJobs
from deploy.commands.command import Command
from deploy.commands.endpoint.steps.absent import Absence, explain_absence
from deploy.commands.endpoint.steps.queue_status import queue_rows, read_queue_facts
from deploy.console import minute, table
from deploy.context import Context
from deploy.errors import (
    AccessDeniedError,
    NotFoundError,
    ResourceFailedError,
)
from deploy.machines.prices import dollars, hourly_price, price_text
from deploy.resources import (
    REVISION_TAG,
    EndpointState,
    describe_count_drift,
    main_variant,
)
from deploy.retries import duration

HEALTH = {
    "InService": "serving",
    "Creating": "not serving yet",
    "Updating": "serving, while it changes",
    "SystemUpdating": "serving, while AWS maintains it",
    "RollingBack": "serving the old config, to which it rolls back",
    "UpdateRollbackFailed": "serving a mix of two configs",
    "Deleting": "going away",
    "Failed": "not serving",
    "OutOfService": "not serving",
}

NUM_JOBS = 5
# States that only a command such as `deploy` or `update` ends.
FINAL_FAILURES = ("Failed", "OutOfService", "UpdateRollbackFailed")


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars, by the price list."""

    hourly: float
    so_far: float


def run(context: Context, options: argparse.Namespace) -> int:
    del options
    name = context.config.name
    state = context.account.read_endpoint(name)
    facts: dict[str, Any] | None
    if state is not None:
        facts = _read_facts(context, state)
        lines = [*table(_rows(facts)), *_rollback_hint(context, state)]
    else:
        history = context.account.history(name)
        facts, lines = _describe_absence(explain_absence(context, name, history))
    queue, jobs = read_queue_facts(context), _list_jobs(context)
    if facts is None and queue is None and not jobs:
        raise NotFoundError(
            f"there is no endpoint {name}", hint="chandra-sagemaker deploy"
        )
    if facts is None:
        facts = {"endpoint": name, "status": None, "config": None}
        lines = [f"there is no endpoint {name} that answers in real time"]
    if queue is not None:
        lines += ["", *table(queue_rows(queue))]
    if jobs is None:
        lines += ["", "transform jobs are not shown: listing them is not allowed"]
    if jobs:
        rows = [(j["job"], j["status"], minute(j["created"])) for j in jobs]
        lines += ["", *table([("TRANSFORM JOB", "STATUS", "CREATED"), *rows])]
    context.console.print_result(facts | {"asynchronous": queue, "jobs": jobs}, lines)
    states = {facts["status"], queue["status"] if queue else None}
    is_lost = facts.get("lost") or (queue is not None and queue["lost"])
    if is_lost or states & {*FINAL_FAILURES}:
        return ResourceFailedError.exit_code
    return 0


def _describe_absence(
    absence: Absence | None,
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return an absent endpoint as fields for --json, and as lines.

    The fields are None if the endpoint was never deployed.
    """
    if absence is None:
        return None, []
    return {
        "endpoint": absence.name,
        "status": None,
        "health": absence.reason.value,
        "lost": absence.is_lost,
        "config": absence.config,
    }, [absence.sentence, f"next: {absence.next_command}"]


def _rollback_hint(context: Context, state: EndpointState) -> list[str]:
    """Return the rollback command for an endpoint that failed; else nothing."""
    if state.status not in ("Failed", "OutOfService"):
        return []
    live = next((v.config for v in context.account.history(state.name) if v.since), "")
    if not live or live == state.config:
        return []
    return [
        f"next: chandra-sagemaker rollback --to {live} brings back the config that was "
        "live last"
    ]


def _list_jobs(context: Context) -> list[dict[str, Any]] | None:
    """Return the last few transform jobs; None if listing them is not allowed."""
    transforms = TransformJobs(context.aws, context.config.name)
    try:
        jobs = list(islice(transforms.list_own_jobs(), NUM_JOBS))
    except AccessDeniedError:
        return None
    return [
        {"job": job.name, "status": job.status, "created": job.created} for job in jobs
    ]


def running_cost(
    context: Context, state: EndpointState, config: Mapping[str, Any]
) -> Cost | None:
    """Return the cost so far, as if the machines had been the same since creation.

    Return None if the price or the time of creation is not known.
    """
    kind = _instance_type(config)
    price = hourly_price(kind, state.instance_count or 1) if kind else None
    if price is None or state.created is None:
        return None
    return Cost(price, price * _seconds(context, state.created) / 3600)


def _read_facts(context: Context, state: EndpointState) -> dict[str, Any]:
    try:
        config = context.account.describe_config(state.config)
    except NotFoundError:
        config = {}
    variant = main_variant(config)
    model: dict[str, Any] = {}
    revision = None
    if "ModelName" in variant:
        try:
            model = context.account.describe_model(variant["ModelName"])
            revision = context.account.tags(model["ModelArn"]).get(REVISION_TAG)
        except NotFoundError:
            model = {}
    container = model.get("PrimaryContainer", {})
    environment = container.get("Environment", {})
    cost = running_cost(context, state, config)
    return {
        "endpoint": state.name,
        "status": state.status,
        "stages": list(state.stages),
        "health": HEALTH.get(state.status, "unknown"),
        "lost": False,
        "reason": state.failure,
        "config": state.config,
        "changing_to": state.pending_config,
        "image": state.image or container.get("Image"),
        "model": environment.get("MODEL_ID"),
        "model_revision": revision or environment.get("MODEL_REVISION"),
        "instance_type": _instance_type(config),
        "instance_count": state.instance_count,
        "desired_count": state.desired_count,
        "created": state.created,
        "last_update": state.modified,
        "running_seconds": _seconds(context, state.created) if state.created else None,
        "price_an_hour": cost.hourly if cost else None,
        "cost_so_far": cost.so_far if cost else None,
        "scaling": "by a policy" if state.is_scaled else "fixed",
        "drift": _drift(state, variant),
    }


def _drift(state: EndpointState, variant: dict[str, Any]) -> str | None:
    """Return how the instances differ from the config, with the command for it."""
    drift = describe_count_drift(state, variant.get("InitialInstanceCount", 1))
    if drift is None or state.is_scaled:
        return drift
    return f"{drift}; chandra-sagemaker deploy sets them back"


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the facts as rows of a table, with units."""
    shown = {name: value for name, value in facts.items() if name != "lost"}
    if stages := shown.pop("stages"):
        shown["status"] += f" ({', '.join(stages)})"
    kind = shown.pop("instance_type") or "unknown"
    desired = shown.pop("desired_count")
    count = shown.pop("instance_count") or 0
    target = "" if desired is None else f" of {desired}"
    words: dict[str, str | None] = {
        "instances": f"{count}{target} x {kind}",
        "running for": _format_if_known(duration, shown.pop("running_seconds")),
        "price an hour": _format_if_known(price_text, shown.pop("price_an_hour")),
        "cost so far": _format_if_known(
            lambda cost: f"about {dollars(cost)}", shown.pop("cost_so_far")
        ),
    }
    rows = [*shown.items(), *words.items()]
    return [(name.replace("_", " "), _format_value(value)) for name, value in rows]


def _format_if_known(words: Callable[[Any], str], value: Any) -> str | None:
    return None if value is None else words(value)


def _instance_type(config: Mapping[str, Any]) -> str | None:
    """Return the instance type; of several, the first, which is preferred."""
    variant = main_variant(config)
    pools = variant.get("InstancePools") or [{}]
    kind = variant.get("InstanceType") or pools[0].get("InstanceType")
    return str(kind) if kind else None


def _seconds(context: Context, since: datetime) -> float:
    return max(0.0, (context.now - since).total_seconds())


def _format_value(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S %Z")
    return str(value)


COMMAND = Command(
    run=run,
    description="Show the endpoint, its instances, health and cost so far. Also shows "
    "the asynchronous endpoint with its queue, and recent batch transform jobs.",
    examples=(
        "status",
        "status --json",
    ),
)
