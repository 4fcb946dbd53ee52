"""Checks of instance types and AMIs: memory, and the driver for the image's CUDA."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.checks.finding import Finding
from deploy.config.tables import ModelTable
from deploy.machines.catalogue import AMIS, INSTANCES, TRANSFORM_AMIS
from deploy.machines.memory import (
    KV_CACHE_TOKENS,
    PredictedMemoryPlan,
    has_plan,
    memory_plan_of,
)

__all__ = [
    "driver_findings",
    "family_of",
    "instance_findings",
    "unknown_cuda_finding",
]

LEAST_FREE_GB = 4.0
"""Memory in addition to the weights, for models without a memory plan."""
FEW_PAGES = 2
"""Number of the largest pages that the cache should hold, to read them together."""
_DRIVER_HINT = (
    "build for CUDA 12.x, or set endpoint.ami = "
    '"al2023-ami-sagemaker-inference-gpu-4-1"'
)
_TRANSFORM_DRIVER_HINT = "build for CUDA 12.x, and leave transform.ami as it is"
_LARGER_HINT = (
    "ml.g5.2xlarge is the cheapest that reads pages well, ml.g6e.2xlarge the best "
    "single GPU"
)


def instance_findings(
    name: str, model: ModelTable, environment: Mapping[str, str]
) -> list[Finding]:
    """Check the memory of an instance type for a model, and its support of bfloat16.

    For a type that is not in the catalogue, the only finding is a note, unless a memory
    plan shows that the model does not fit. `environment` is the container's, whose
    settings may shrink images or the cache.
    """
    instance = INSTANCES.get(name)
    weights = model.weights_gb
    is_planned = has_plan(model.id, environment)
    plan = memory_plan_of(name, weights, environment) if is_planned else None
    memory = [] if plan is None else _memory_findings(name, weights, plan)
    if instance is None and plan is not None:
        return memory or [
            Finding(name, False, f"the price of {name} is not known here")
        ]
    if instance is None:
        nearest = ", ".join(n for n in INSTANCES if n.split(".")[1] == family_of(name))
        return [
            Finding(
                name,
                False,
                f"memory and price of {name} are not known here, so neither was "
                "checked" + (f"; known of its family: {nearest}" if nearest else ""),
            )
        ]
    gpu = instance.gpu
    if plan is None and gpu.memory_gb < weights + LEAST_FREE_GB:
        return [
            Finding(
                name,
                True,
                f"{name} has a {gpu.name} with {gpu.memory_gb} GB; the weights take "
                f"{weights:g} GB and a page some more"
                + ("" if gpu.has_bfloat16 else ", and it has no bfloat16"),
                hint=_LARGER_HINT,
            )
        ]
    if any(finding.is_fatal for finding in memory):
        return memory
    findings = memory
    if not gpu.has_bfloat16:
        findings.append(
            Finding(
                name,
                True,
                f"{name} has a {gpu.name}, which has no bfloat16: the "
                "weights are bfloat16",
                hint="ml.g5.2xlarge is the cheapest that has it",
            )
        )
    if instance.memory_gb < weights:
        findings.append(
            Finding(
                name,
                False,
                f"{name} has {instance.memory_gb} GB of memory, less than the weights: "
                "loading them is slower than on the next size",
            )
        )
    return findings


def _memory_findings(
    name: str, weights: float, plan: PredictedMemoryPlan
) -> list[Finding]:
    """Check whether the memory beside the weights holds the largest page.

    Returns at most one finding.
    """
    instance = INSTANCES.get(name)
    has_bfloat16 = instance is None or instance.gpu.has_bfloat16
    usable = f"{plan.usable_bytes / 2**30:.1f} GiB"
    size = usable if instance is None else f"{instance.gpu.memory_gb} GB"
    if plan.room_tokens < plan.page_tokens:
        return [
            Finding(
                name,
                True,
                f"{name} has a {plan.gpu} with {size}; the weights take "
                f"{weights:g} GB, and what is left holds {plan.room_tokens:,} tokens, "
                f"where the largest page takes {plan.page_tokens:,}"
                + ("" if has_bfloat16 else ", and it has no bfloat16"),
                hint=_LARGER_HINT,
            )
        ]
    if not plan.page_tokens <= plan.cache_tokens <= plan.room_tokens:
        return [
            Finding(
                name,
                True,
                f"{KV_CACHE_TOKENS} is {plan.cache_tokens:,}; the {plan.gpu} of {name} "
                f"has room for {plan.room_tokens:,}, and the largest page takes "
                f"{plan.page_tokens:,}",
                hint=f"remove {KV_CACHE_TOKENS} from [endpoint] environment",
            )
        ]
    if plan.num_largest_pages < FEW_PAGES:
        return [
            Finding(
                name,
                False,
                f"the cache of a {plan.gpu} holds {plan.cache_tokens:,} tokens, where "
                f"the largest page takes {plan.page_tokens:,}: such pages are read "
                "one after the other",
                hint=_LARGER_HINT,
            )
        ]
    return []


def driver_findings(cuda: str, name: str) -> list[Finding]:
    """Compare an image's CUDA version with the driver of an AMI.

    CUDA 12.x runs on any driver from 525 on, and a newer major version needs a newer
    driver. Returns no finding for an AMI that is not in the catalogue.
    """
    ami = AMIS.get(name) or TRANSFORM_AMIS.get(name)
    if ami is None:
        return []
    major = int(cuda.partition(".")[0])
    if major > ami.cuda[0]:
        return [
            Finding(
                name,
                True,
                f"the image is built for CUDA {cuda}, and driver {ami.driver} of "
                f"{name} supports CUDA up to {ami.cuda[0]}.{ami.cuda[1]}: the "
                "container would die without a log line",
                hint=_DRIVER_HINT if name in AMIS else _TRANSFORM_DRIVER_HINT,
            )
        ]
    if major < ami.cuda[0]:
        return [
            Finding(
                name,
                False,
                f"CUDA {cuda} on driver {ami.driver} of {name}: images that carry "
                "cuda-compat libraries have been seen to hang in Creating",
            )
        ]
    return []


def unknown_cuda_finding(name: str, reason: str) -> Finding:
    """Return the finding that an AMI's driver was not compared with the image."""
    return Finding(
        name,
        False,
        f"it is not known for which CUDA the image is built, so the driver of {name} "
        f"was not compared with it: {reason}",
        hint='set [image] cuda in chandra.toml, as in cuda = "12.8", if you know it; '
        "it holds for the image of the file, and not for another --image",
    )


def family_of(instance_type: str) -> str:
    """Return the family of an instance type, such as g5 of ml.g5.2xlarge.

    A text that does not look like an instance type is returned unchanged.
    """
    parts = instance_type.split(".")
    return parts[1] if len(parts) == 3 else instance_type
