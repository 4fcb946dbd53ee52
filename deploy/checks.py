"""What would fail on AWS an hour later, said before the first call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.catalogue import (
    AMIS,
    INSTANCES,
    TRANSFORM_AMIS,
    TRANSFORM_FAMILIES,
    Ami,
)
from deploy.config import DeployConfig
from deploy.transforms import MAX_ENVIRONMENT, TransformJob

__all__ = [
    "ENDPOINT_USAGE",
    "TRANSFORM_USAGE",
    "Finding",
    "checks_of",
    "quota_findings",
    "quota_name",
    "transform_checks_of",
]

ENDPOINT_USAGE = "endpoint usage"
TRANSFORM_USAGE = "transform job usage"

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
        for finding in [
            *_instance(name, config.model.weights_gb),
            *_volume(config, name),
        ]
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


def transform_checks_of(config: DeployConfig, job: TransformJob) -> list[Finding]:
    """What a batch transform would fail of, after the minutes its machines take."""
    name = job.instance_type
    if _family(name) not in TRANSFORM_FAMILIES:
        return [
            Finding(
                name,
                True,
                f"batch transform does not run on {name}: of GPU machines it knows "
                + ", ".join(TRANSFORM_FAMILIES),
                hint="ml.g6e.2xlarge is the best single GPU it has",
            )
        ]
    findings = _instance(name, config.model.weights_gb)
    ami = TRANSFORM_AMIS.get(job.ami)
    if ami is None:
        findings.append(
            Finding(
                job.ami,
                True,
                f"{job.ami} is no AMI of batch transform's",
                hint="one of " + ", ".join(TRANSFORM_AMIS),
            )
        )
    else:
        findings += _driver(
            config.image.cuda,
            job.ami,
            ami,
            hint="build for CUDA 12.x, and leave transform.ami as it is",
        )
    if len(job.environment) > MAX_ENVIRONMENT:
        findings.append(
            Finding(
                "environment",
                True,
                f"a job takes {MAX_ENVIRONMENT} variables, not {len(job.environment)}",
                hint="endpoint.environment is the model's, which takes 100",
            )
        )
    if config.transform.weights == "pull" and config.network.isolation:
        findings.append(
            Finding(
                "weights",
                True,
                'transform.weights = "pull" has the container read S3, and '
                "network.isolation = true keeps it from there",
                hint='network.isolation = false, or transform.weights = "tar" and '
                "chandra-sagemaker model stage --tar",
            )
        )
    return findings + _image_region(config)


def _instance(name: str, weights: float) -> list[Finding]:
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


def _volume(config: DeployConfig, name: str) -> list[Finding]:
    if config.endpoint.volume_gb is None or _family(name) not in LOCAL_DISKS:
        return []
    return [
        Finding(
            name,
            True,
            f"endpoint.volume_gb is refused for {name}, which has local disks",
            hint="remove volume_gb from [endpoint]",
        )
    ]


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
    findings = _driver(
        config.image.cuda,
        name,
        ami,
        hint="build for CUDA 12.x, or set endpoint.ami = "
        '"al2023-ami-sagemaker-inference-gpu-4-1"',
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


def _driver(cuda: str, name: str, ami: Ami, *, hint: str) -> list[Finding]:
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


def _image_region(config: DeployConfig) -> list[Finding]:
    """A registry has the region in its name: of the digest pushed last, perhaps."""
    found = REGISTRY.match(config.image.uri or "")
    if found is None or config.region in (None, found[1]):
        return []
    return [
        Finding(
            "image",
            True,
            f"the image is in {found[1]}, and SageMaker in {config.region} needs one "
            "there",
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


def quota_name(instance_type: str, usage: str = ENDPOINT_USAGE) -> str:
    """As Service Quotas calls it."""
    return f"{instance_type} for {usage}"


def quota_findings(
    wanted: Mapping[str, int],
    quotas: Mapping[str, float],
    *,
    hint: str,
    usage: str = ENDPOINT_USAGE,
) -> list[Finding]:
    """Instances wanted by type, against the account's quotas by name.

    Several types are alternatives: one that is allowed is enough.
    """
    refused = []
    for name, count in wanted.items():
        allowed = quotas.get(quota_name(name, usage))
        if allowed is None:
            refused.append(
                Finding(name, False, f"this region lists no quota of {name}")
            )
        elif allowed < count:
            refused.append(
                Finding(
                    name,
                    True,
                    f"this account may run {allowed:g} {name} for "
                    f"{usage.removesuffix(' usage')}s; {count} wanted",
                    hint=hint,
                )
            )
    if len(refused) < len(wanted):
        return [Finding(f.subject, False, f.sentence, f.hint) for f in refused]
    return refused
