"""Plan of a batch job: the machines that it runs on, and its price."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploy.batch.documents import sum_workload
from deploy.batch.job import TransformJob
from deploy.batch.sizing import JobSizing, JobWorkload, choose_machines
from deploy.commands.batch.job.request import JobRequest
from deploy.context import Context
from deploy.machines.catalogue import INSTANCES, PRICE_NOTE
from deploy.machines.prices import dollars
from deploy.machines.throughput import ESTIMATE_NOTE, Rate, rate_of
from deploy.plan.actions import Action

__all__ = ["JobPlan", "plan_job", "price_lines"]


@dataclass(frozen=True, slots=True)
class JobPlan:
    """Job with the machines that were chosen for it."""

    job: TransformJob
    sizing: JobSizing
    workload: JobWorkload
    rate: Rate | None
    """Pages per second of each GPU, if known."""

    def to_json(self, request: JobRequest, actions: Sequence[Action]) -> dict[str, Any]:
        return {
            "job": self.job.name,
            "documents": len(self.job.work),
            "pages_estimate": self.workload.num_pages,
            "sizing": self.sizing.to_json(),
            "actions": [action.to_json() for action in actions],
            "refused": [
                {"document": each.source, **each.to_json()} for each in request.refused
            ],
            "left_out": [failure.to_json() for failure in request.left_out],
        }


def plan_job(
    context: Context, options: argparse.Namespace, job: TransformJob
) -> JobPlan:
    """Return the job with the number of machines that its pages and the flags need."""
    config = context.config
    rate = _rate_on(job.instance_type, options.results)
    workload = sum_workload(job.work)
    sizing = choose_machines(
        workload,
        job.instance_type,
        rate,
        weights_gb=config.model.weights_gb,
        instance_count=options.instance_count,
        within_hours=options.within,
        max_instances=config.transform.max_instances,
    )
    job = replace(
        job,
        instance_count=sizing.instance_count,
        max_concurrent=sizing.max_concurrent,
        max_payload_mb=sizing.max_payload_mb,
    )
    return JobPlan(job, sizing, workload, rate)


def _rate_on(instance_type: str, results: Path | None) -> Rate | None:
    """Return the pages per second of each GPU of an instance type, if known."""
    known = INSTANCES.get(instance_type)
    return None if known is None else rate_of(known.gpu.name, results)


def price_lines(plan: JobPlan) -> list[str]:
    """Return lines on the machines, time and price of a job."""
    sizing, rate, num_pages = plan.sizing, plan.rate, plan.workload.num_pages
    machines = f"{sizing.instance_count} x {sizing.instance_type}"
    head = f"{len(plan.job.work):,} documents, about {num_pages:,} pages"
    if sizing.price is None:
        return [f"{head}; {machines}: price not known here"]
    lines = [f"{head}; {machines}: {dollars(sizing.price)} an hour"]
    if sizing.hours is not None and sizing.cost is not None:
        measured = rate is not None and rate.measured_in is not None
        lines.append(
            f"about {sizing.hours:.1f} h, {dollars(sizing.cost)}, "
            f"{dollars(1000 * sizing.cost / num_pages)} a thousand pages"
            + ("" if measured else f" ({ESTIMATE_NOTE})")
        )
    return [*lines, f"({PRICE_NOTE})"]
