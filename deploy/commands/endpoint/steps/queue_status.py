"""Status of the asynchronous endpoint: machines, queue and scaling."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from deploy.commands.endpoint.steps.absent import explain_absence
from deploy.context import Context
from deploy.errors import AccessDeniedError
from deploy.machines.prices import hourly_price, price_text
from deploy.monitoring import QUEUE_METRICS
from deploy.monitoring.cloudwatch import read_metrics
from deploy.queue.endpoint import async_name
from deploy.resources import EndpointState, describe_count_drift, main_variant
from deploy.retries import duration

__all__ = [
    "find_async_endpoint",
    "queue_rows",
    "read_machine_price",
    "read_queue_facts",
]

# CloudWatch shows metrics with a delay of a minute or two.
MAX_AGE = timedelta(minutes=10)
NAMES = {
    "ApproximateBacklogSize": "backlog",
    "ApproximateBacklogSizePerInstance": "backlog_per_instance",
    "HasBacklogWithoutCapacity": "has_backlog_without_capacity",
    "ApproximateAgeOfOldestRequest": "oldest_seconds",
}


def find_async_endpoint(context: Context) -> EndpointState | None:
    """Return the asynchronous endpoint.

    Returns None if it is missing, is not ours, or may not be described.
    """
    try:
        state = context.account.read_endpoint(async_name(context.config))
    except AccessDeniedError:
        return None
    return state if state is not None and state.is_ours else None


def read_queue_facts(context: Context) -> dict[str, Any] | None:
    """Read the state of the asynchronous endpoint and its queue, for --json.

    Return None if there is no such endpoint and never was.
    """
    name = async_name(context.config)
    denied = None
    try:
        state = context.account.read_endpoint(name)
    except AccessDeniedError as error:
        state, denied = None, error.message
    if state is None or not state.is_ours:
        absence = explain_absence(context, name, context.account.history(name))
        if absence is None:
            return None
        facts = {"endpoint": name, "status": None, "config": absence.config}
        if denied is not None:
            return facts | {"error": denied, "health": "unknown", "lost": False}
        return facts | {"health": absence.reason.value, "lost": absence.is_lost}
    scaling = context.account.read_scaling(name)
    limits = scaling.target or {}
    kind, price = read_machine_price(context, state)
    return {
        "endpoint": name,
        "status": state.status,
        "lost": False,
        "stages": list(state.stages),
        "reason": state.failure,
        "config": state.config,
        "changing_to": state.pending_config,
        "instance_type": kind,
        "instance_count": state.instance_count,
        "desired_count": state.desired_count,
        "drift": describe_count_drift(state, 1) if state.is_scaled else None,
        "min_instances": limits.get("MinCapacity"),
        "max_instances": limits.get("MaxCapacity"),
        **_read_backlog(context, name),
        "alarms": {
            alarm_name.removeprefix(f"{name}-"): alarm["StateValue"]
            for alarm_name, alarm in scaling.alarms.items()
        },
        "created": state.created,
        "last_update": state.modified,
        "price_an_hour": price,
    }


def read_machine_price(
    context: Context, state: EndpointState
) -> tuple[str | None, float | None]:
    """Return the instance type, and the price per hour of the machines that run.

    Each is None if it is not known.
    """
    config = context.account.describe_config(state.config)
    variant = main_variant(config)
    pools = variant.get("InstancePools") or [{}]
    kind = variant.get("InstanceType") or pools[0].get("InstanceType")
    if kind is None or state.instance_count is None:
        return kind, None
    if state.instance_count == 0:
        return kind, 0.0
    return kind, hourly_price(kind, state.instance_count)


def queue_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the facts as rows of a table."""
    name = facts["endpoint"]
    if "error" in facts:
        return [("asynchronous", name), ("status", f"not known: {facts['error']}")]
    if facts["status"] is None:
        how = "missing, and `stop` did not stop it" if facts["lost"] else "stopped"
        return [
            ("asynchronous", name),
            ("status", f"{how}; chandra-sagemaker start --async brings it back"),
        ]
    stages = f" ({', '.join(facts['stages'])})" if facts["stages"] else ""
    rows = [
        ("asynchronous", name),
        ("status", f"{facts['status']}{stages}"),
        ("reason", facts["reason"]),
        ("config", facts["config"]),
        ("changing to", facts["changing_to"]),
        ("machines", _machines(facts)),
        ("waiting", _waiting(facts)),
        ("drift", facts["drift"]),
        ("scaling", _scaling(facts)),
        ("last update", f"{facts['last_update']:%Y-%m-%d %H:%M:%S %Z}"),
    ]
    if facts["price_an_hour"] is not None:
        rows.append(
            ("price an hour", f"{price_text(facts['price_an_hour'])}, as it is now")
        )
    return [(label, value) for label, value in rows if value is not None]


def _machines(facts: dict[str, Any]) -> str:
    count, desired = facts["instance_count"] or 0, facts["desired_count"]
    target = "" if desired in (None, count) else f" of {desired}"
    limits = ""
    if facts["max_instances"] is not None:
        limits = f" ({facts['min_instances']} to {facts['max_instances']})"
    return f"{count}{target} x {facts['instance_type'] or 'unknown'}{limits}"


def _waiting(facts: dict[str, Any]) -> str:
    backlog, per_machine = facts["backlog"], facts["backlog_per_instance"]
    if facts["backlog_error"] is not None:
        return f"not known: {facts['backlog_error']}"
    if backlog is None:
        return "not known: CloudWatch has no number of the last ten minutes"
    words = f"{backlog:,.0f} documents"
    if per_machine is not None and facts["instance_count"]:
        words += f", {per_machine:.4g} for each machine"
    if backlog and facts["oldest_seconds"] is not None:
        words += f", the oldest for {duration(facts['oldest_seconds'])}"
    return words


def _scaling(facts: dict[str, Any]) -> str:
    if facts["max_instances"] is None:
        return "none; chandra-sagemaker async deploy sets it"
    if facts["has_backlog_without_capacity"]:
        return "documents wait and no machine runs: one is starting"
    if not facts["instance_count"]:
        return "no machine runs; one starts when documents wait"
    if facts["alarms"].get("idle") == "ALARM":
        return "no work: the machines are stopping"
    return "by the queue"


def _read_backlog(context: Context, name: str) -> dict[str, Any]:
    """Return the latest metrics of the queue; None for those without a recent value."""
    metrics = [metric for metric in QUEUE_METRICS if metric.name in NAMES]
    latest: dict[str, Any] = dict.fromkeys([*NAMES.values(), "backlog_error"])
    try:
        series = read_metrics(
            context.aws,
            name,
            start=context.now - MAX_AGE,
            end=context.now,
            period_seconds=60,
            metrics=metrics,
        )
    except AccessDeniedError as error:
        return {**latest, "backlog_error": error.message}
    for metric_series in series:
        if metric_series.values:
            latest[NAMES[metric_series.metric.name]] = metric_series.values[-1]
    return latest
