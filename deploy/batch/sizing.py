"""Machines of a batch transform job, and documents sent to each at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from deploy.batch.job import MAX_PAYLOAD_MB
from deploy.errors import ConfigError
from deploy.machines.catalogue import INSTANCES, Instance
from deploy.machines.prices import hourly_price
from deploy.machines.throughput import Rate

__all__ = ["JobSizing", "JobWorkload", "size"]

MB = 1024 * 1024
# Estimated start: machine, image and weights. One published start took 643 s.
STARTUP_HOURS = 0.25
# Default duration of a job: long compared with the start, short compared with a day.
USUAL_HOURS = 2.0
# KV cache of Chandra 1 for an A4 page at 192 dpi with 1,200 tokens of text.
PAGE_GB = 0.69
# GPU memory beside weights and KV cache: activations, and CUDA itself.
RESERVED_GB = 4.0
# Limit of the container's front end.
MAX_CONCURRENT = 64


@dataclass(frozen=True, slots=True)
class JobWorkload:
    """Documents of a job, as totals."""

    num_documents: int
    num_pages: int
    largest_bytes: int
    """Size of the largest request."""
    longest_pages: int
    """Pages of the longest document, as far as they are known."""


@dataclass(frozen=True, slots=True)
class JobSizing:
    """Machines of a job, with estimates of its time and cost."""

    instance_type: str
    instance_count: int
    max_concurrent: int
    max_payload_mb: int
    hours: float | None
    """Estimated hours from start to end; None if the speed of the machine is
    unknown."""
    price: float | None
    """US dollars per hour for all machines."""

    @property
    def cost(self) -> float | None:
        """Estimated US dollars of the whole job."""
        if self.hours is None or self.price is None:
            return None
        return self.hours * self.price

    def to_json(self) -> dict[str, Any]:
        return {
            "instance_type": self.instance_type,
            "instance_count": self.instance_count,
            "max_concurrent_transforms": self.max_concurrent,
            "max_payload_mb": self.max_payload_mb,
            "hours_estimate": self.hours,
            "price_an_hour": self.price,
            "cost_estimate": self.cost,
        }


def size(
    workload: JobWorkload,
    instance_type: str,
    rate: Rate | None,
    *,
    weights_gb: float,
    instance_count: int | None = None,
    within_hours: float | None = None,
    max_instances: int,
) -> JobSizing:
    """Choose the machines of a job.

    Raises ConfigError if an object is too large, or if `max_instances` machines would
    not finish within `within_hours`.
    """
    known = INSTANCES.get(instance_type)
    payload_mb = max(1, math.ceil(workload.largest_bytes / MB))
    if payload_mb > MAX_PAYLOAD_MB:
        raise ConfigError(
            f"an object has {payload_mb} MB; at most {MAX_PAYLOAD_MB}",
            hint="name it in a manifest: the container then reads it itself",
        )
    a_second = None if known is None or rate is None else rate.together * known.num_gpus
    count = instance_count
    if count is None:
        count = _count(workload, a_second, within_hours, max_instances)
    # Each machine needs an object; further machines would be idle.
    count = min(count, workload.num_documents)
    hours = None if a_second is None else _hours(workload.num_pages, a_second, count)
    return JobSizing(
        instance_type=instance_type,
        instance_count=count,
        max_concurrent=_concurrency(workload, known, weights_gb, payload_mb, count),
        max_payload_mb=payload_mb,
        hours=hours,
        price=hourly_price(instance_type, count),
    )


def _hours(num_pages: int, a_second: float, count: int) -> float:
    return STARTUP_HOURS + num_pages / (a_second * count * 3600)


def _count(
    workload: JobWorkload,
    a_second: float | None,
    within_hours: float | None,
    max_instances: int,
) -> int:
    if a_second is None:
        if within_hours is not None:
            raise ConfigError(
                "the speed of this machine is not known, so --within cannot be planned",
                hint="--instance-count N",
            )
        return 1
    busy = (within_hours or USUAL_HOURS) - STARTUP_HOURS
    most = min(max_instances, workload.num_documents)
    needed = (
        math.ceil(workload.num_pages / (a_second * 3600 * busy)) if busy > 0 else None
    )
    if within_hours is None:
        return max(1, min(most, needed or 1))
    if needed is None or needed > most:
        least = _hours(workload.num_pages, a_second, most)
        raise ConfigError(
            f"{workload.num_pages:,} pages take about {least:.1f} h on {most} "
            f"machines, not {within_hours:g} h",
            hint="more hours, more transform.max_instances, or a faster "
            "--instance-type",
        )
    return max(1, needed)


def _concurrency(
    workload: JobWorkload,
    known: Instance | None,
    weights_gb: float,
    payload_mb: int,
    count: int,
) -> int:
    """Return the documents sent to a machine at once, so that pages always wait."""
    allowed = min(MAX_CONCURRENT, MAX_PAYLOAD_MB // payload_mb)
    a_machine = math.ceil(workload.num_documents / count)
    if known is None:
        pages_at_once = 4.0
    else:
        free = known.gpu.memory_gb - weights_gb - RESERVED_GB
        pages_at_once = max(1.0, free / PAGE_GB) * known.num_gpus
    mean = max(1.0, workload.num_pages / workload.num_documents)
    # Twice as many, because others are decoded or written while these are read.
    return max(1, min(allowed, a_machine, math.ceil(2 * pages_at_once / mean)))
