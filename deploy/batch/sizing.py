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

__all__ = ["JobSizing", "JobWorkload", "choose_machines"]

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


def choose_machines(
    workload: JobWorkload,
    instance_type: str,
    rate: Rate | None,
    *,
    weights_gb: float,
    instance_count: int | None = None,
    within_hours: float | None = None,
    max_instances: int,
) -> JobSizing:
    """Choose the number of machines of a job, and the documents sent to each at once.

    `rate` is the speed of the GPU, None if it is unknown. The number of machines is
    `instance_count`, or if that is None, what the job needs to end within
    `within_hours` or a usual duration, but at most one for each document. Raises
    ConfigError if an object is too large. Without `instance_count`, raises it too if
    `within_hours` is set and the speed is unknown, or if `max_instances` machines, or
    one for each document, are too few.
    """
    instance = INSTANCES.get(instance_type)
    payload_mb = max(1, math.ceil(workload.largest_bytes / MB))
    if payload_mb > MAX_PAYLOAD_MB:
        raise ConfigError(
            f"an object has {payload_mb} MB; at most {MAX_PAYLOAD_MB}",
            hint="name it in a manifest: the container then downloads it itself",
        )
    pages_per_second = (
        None if instance is None or rate is None else rate.together * instance.num_gpus
    )
    num_machines = instance_count
    if num_machines is None:
        num_machines = _choose_count(
            workload, pages_per_second, within_hours, max_instances
        )
    # Each machine needs an object; further machines would be idle.
    num_machines = min(num_machines, workload.num_documents)
    hours = (
        None
        if pages_per_second is None
        else _estimate_hours(workload.num_pages, pages_per_second, num_machines)
    )
    return JobSizing(
        instance_type=instance_type,
        instance_count=num_machines,
        max_concurrent=_choose_concurrency(
            workload, instance, weights_gb, payload_mb, num_machines
        ),
        max_payload_mb=payload_mb,
        hours=hours,
        price=hourly_price(instance_type, num_machines),
    )


def _estimate_hours(
    num_pages: int, pages_per_second: float, num_machines: int
) -> float:
    return STARTUP_HOURS + num_pages / (pages_per_second * num_machines * 3600)


def _choose_count(
    workload: JobWorkload,
    pages_per_second: float | None,
    within_hours: float | None,
    max_instances: int,
) -> int:
    """Return the number of machines; raises ConfigError if more would be needed."""
    if pages_per_second is None:
        if within_hours is not None:
            raise ConfigError(
                "the speed of this machine is not known, so --within cannot be planned",
                hint="--instance-count N",
            )
        return 1
    busy_hours = (within_hours or USUAL_HOURS) - STARTUP_HOURS
    max_machines = min(max_instances, workload.num_documents)
    num_needed = (
        math.ceil(workload.num_pages / (pages_per_second * 3600 * busy_hours))
        if busy_hours > 0
        else None
    )
    if within_hours is None:
        return max(1, min(max_machines, num_needed or 1))
    if num_needed is None or num_needed > max_machines:
        least_hours = _estimate_hours(
            workload.num_pages, pages_per_second, max_machines
        )
        raise ConfigError(
            f"{workload.num_pages:,} pages take about {least_hours:.1f} h on "
            f"{max_machines} machines, not {within_hours:g} h",
            hint="more hours, more transform.max_instances, or a faster "
            "--instance-type",
        )
    return max(1, num_needed)


def _choose_concurrency(
    workload: JobWorkload,
    instance: Instance | None,
    weights_gb: float,
    payload_mb: int,
    num_machines: int,
) -> int:
    """Return how many documents to send to a machine at once.

    The number keeps pages waiting for the GPU, within the limits of SageMaker.
    """
    allowed = min(MAX_CONCURRENT, MAX_PAYLOAD_MB // payload_mb)
    documents_per_machine = math.ceil(workload.num_documents / num_machines)
    if instance is None:
        pages_at_once = 4.0
    else:
        free_gb = instance.gpu.memory_gb - weights_gb - RESERVED_GB
        pages_at_once = max(1.0, free_gb / PAGE_GB) * instance.num_gpus
    mean_pages = max(1.0, workload.num_pages / workload.num_documents)
    # Twice as many, because others are decoded or written while these are read.
    return max(
        1,
        min(allowed, documents_per_machine, math.ceil(2 * pages_at_once / mean_pages)),
    )
