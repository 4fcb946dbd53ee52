"""What would fail on AWS an hour later, said before the first call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.catalogue import AMIS, INSTANCES
from deploy.config import DeployConfig

__all__ = ["Finding", "checks_of", "quota_findings", "quota_name"]

# Local disks: SageMaker refuses a volume size for them.
LOCAL_DISKS = ("g4dn", "g5", "g6", "g6e", "g7e", "p4d", "p4de", "p5", "p5e", "p5en")
REGISTRY = re.compile(r"\d+\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com")
# Beside the weights: activations, CUDA itself, and the cache of at least one page.
LEAST_FREE_GB = 4.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    is_fatal: bool
    sentence: str
    hint: str | None = None

    def to_json(self) -> dict[str, str | bool | None]:
        return {
            "subject": self.subject,
            "fatal": self.is_fatal,
            "message": self.sentence,
            "hint": self.hint,
        }


def checks_of(config: DeployConfig) -> list[Finding]:
    """What the configuration alone gives away."""
    findings = [
        finding
        for name in config.endpoint.instance_types
        for finding in _instance(config, name)
    ]
    findings += _ami(config)
    findings += _image_region(config)
    findings += _registry(config)
    if config.network.kms_key is not None:
        findings.append(
            Finding(
                "encryption",
                False,
                "local disks of GPU instances have a hardware key of their own; "
                "network.kms_key is for weights, images and other volumes",
            )
        )
    if config.capture.uri is not None:
        findings.append(
            Finding(
                "capture",
                False,
                f"documents and answers are copied to {config.capture.uri}",
            )
        )
    return findings


def _instance(config: DeployConfig, name: str) -> list[Finding]:
    known = INSTANCES.get(name)
    if known is None:
        nearest = ", ".join(n for n in INSTANCES if n.split(".")[1] == _family(name))
        return [
            Finding(
                name,
                False,
                f"memory and price of {name} are not known here, so neither was "
                "checked" + (f"; known of its family: {nearest}" if nearest else ""),
            )
        ]
    gpu, weights = known.gpu, config.model.weights_gb
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
    if config.endpoint.volume_gb is not None and _family(name) in LOCAL_DISKS:
        findings.append(
            Finding(
                name,
                True,
                f"endpoint.volume_gb is refused for {name}, which has local disks",
                hint="remove volume_gb from [endpoint]",
            )
        )
    return findings


def _family(instance_type: str) -> str:
    parts = instance_type.split(".")
    return parts[1] if len(parts) == 3 else instance_type


def _ami(config: DeployConfig) -> list[Finding]:
    name = config.endpoint.ami
    ami = AMIS.get(name)
    if ami is None:
        return [
            Finding(
                name,
                True,
                f"{name} is no AMI that we know to carry a GPU driver",
                hint="one of " + ", ".join(AMIS),
            )
        ]
    major = int(config.image.cuda.partition(".")[0])
    findings = []
    # Any 12.x runs on a driver of 525 or newer; a newer major needs its own.
    if major > ami.cuda[0]:
        findings.append(
            Finding(
                name,
                True,
                f"the image is built for CUDA {config.image.cuda}, and driver "
                f"{ami.driver} of {name} ends at {ami.cuda[0]}.{ami.cuda[1]}: the "
                "container would die without a log line",
                hint="build for CUDA 12.x, or set endpoint.ami = "
                '"al2023-ami-sagemaker-inference-gpu-4-1"',
            )
        )
    elif major < ami.cuda[0]:
        findings.append(
            Finding(
                name,
                False,
                f"CUDA {config.image.cuda} on driver {ami.driver} of {name}: images "
                "that carry cuda-compat libraries have been seen to hang in Creating",
            )
        )
    for kind in config.endpoint.instance_types:
        known = INSTANCES.get(kind)
        if known is not None and known.gpu.needs_cuda_13 and ami.cuda < (13, 0):
            findings.append(
                Finding(
                    kind,
                    True,
                    f"the {known.gpu.name} of {kind} needs driver 580; {name} has "
                    f"{ami.driver}",
                    hint='endpoint.ami = "al2023-ami-sagemaker-inference-gpu-4-1"',
                )
            )
    return findings


def _image_region(config: DeployConfig) -> list[Finding]:
    """A registry has the region in its name: of the digest pushed last, perhaps."""
    found = REGISTRY.match(config.image.uri or "")
    if found is None or config.region in (None, found[1]):
        return []
    return [
        Finding(
            "image",
            True,
            f"the image is in {found[1]}, and an endpoint in "
            f"{config.region} needs one there",
            hint="chandra-sagemaker image push",
        )
    ]


def _registry(config: DeployConfig) -> list[Finding]:
    """SageMaker pulls from ECR."""
    host, slash, _ = (config.image.uri or "").partition("/")
    if not slash or re.match(r"\d+\.dkr\.ecr(-fips)?\.", host) is not None:
        return []
    return [
        Finding(
            "image",
            True,
            f"the image is in {host}, and SageMaker pulls from ECR only",
            hint="chandra-sagemaker image push, and no image.uri in chandra.toml",
        )
    ]


def quota_name(instance_type: str) -> str:
    """As Service Quotas calls it."""
    return f"{instance_type} for endpoint usage"


def quota_findings(
    wanted: Mapping[str, int], quotas: Mapping[str, float], *, hint: str
) -> list[Finding]:
    """Instances wanted by type, against the account's quotas by name.

    Several types are alternatives: one that is allowed is enough.
    """
    refused = []
    for name, count in wanted.items():
        allowed = quotas.get(quota_name(name))
        if allowed is None:
            refused.append(
                Finding(name, False, f"this region lists no quota of {name}")
            )
        elif allowed < count:
            refused.append(
                Finding(
                    name,
                    True,
                    f"this account may run {allowed:g} {name} for endpoints; "
                    f"{count} wanted",
                    hint=hint,
                )
            )
    if len(refused) < len(wanted):
        return [Finding(f.subject, False, f.sentence, f.hint) for f in refused]
    return refused
