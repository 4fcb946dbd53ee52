"""Whether a model fits a kind of machine, and its CUDA the driver there."""

from __future__ import annotations

from deploy.checks.finding import Finding
from deploy.machines.catalogue import INSTANCES, Ami

__all__ = ["driver_findings", "family_of", "instance_findings"]

# Beside the weights: activations, CUDA itself, and the cache of at least one page.
LEAST_FREE_GB = 4.0


def instance_findings(name: str, weights: float) -> list[Finding]:
    """Whether weights of so many GB run on an instance type."""
    known = INSTANCES.get(name)
    if known is None:
        nearest = ", ".join(n for n in INSTANCES if n.split(".")[1] == family_of(name))
        return [
            Finding(
                name,
                False,
                f"memory and price of {name} are not known here, so neither was "
                "checked" + (f"; known of its family: {nearest}" if nearest else ""),
            )
        ]
    gpu = known.gpu
    if gpu.memory_gb < weights + LEAST_FREE_GB:
        return [
            Finding(
                name,
                True,
                f"{name} has a {gpu.name} with {gpu.memory_gb} GB; the weights take "
                f"{weights:g} GB and a page some more"
                + ("" if gpu.has_bfloat16 else ", and it has no bfloat16"),
                hint="ml.g5.2xlarge is the cheapest that reads pages well, "
                "ml.g6e.2xlarge the best single GPU",
            )
        ]
    findings = []
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
    if known.memory_gb < weights:
        findings.append(
            Finding(
                name,
                False,
                f"{name} has {known.memory_gb} GB of memory, less than the weights: "
                "loading them is slower than on the next size",
            )
        )
    return findings


def driver_findings(cuda: str, name: str, ami: Ami, *, hint: str) -> list[Finding]:
    """Any 12.x runs on a driver of 525 or newer; a newer major needs its own."""
    major = int(cuda.partition(".")[0])
    if major > ami.cuda[0]:
        return [
            Finding(
                name,
                True,
                f"the image is built for CUDA {cuda}, and driver {ami.driver} of "
                f"{name} ends at {ami.cuda[0]}.{ami.cuda[1]}: the container would die "
                "without a log line",
                hint=hint,
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


def family_of(instance_type: str) -> str:
    """g5 of ml.g5.2xlarge."""
    parts = instance_type.split(".")
    return parts[1] if len(parts) == 3 else instance_type
