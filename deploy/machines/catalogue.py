"""Catalogue of instance types, their prices, and the drivers of their hosts.

Prices are on demand in us-east-1, from public tables of August and September 2026 that
cite the AWS price list. AWS is not asked. Pages an hour are in `throughput`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AMIS",
    "HOURS_A_DAY",
    "HOURS_A_MONTH",
    "INSTANCES",
    "PRICE_NOTE",
    "TRANSFORM_AMIS",
    "TRANSFORM_FAMILIES",
    "Ami",
    "Gpu",
    "Instance",
]

HOURS_A_DAY = 24
HOURS_A_MONTH = 730
PRICE_NOTE = "on demand in us-east-1, September 2026; other regions differ"


@dataclass(frozen=True, slots=True)
class Gpu:
    """Model of GPU."""

    name: str
    memory_gb: int
    has_bfloat16: bool = True
    needs_cuda_13: bool = False
    """True if only the newest AMI has a driver for it."""


@dataclass(frozen=True, slots=True)
class Instance:
    """Instance type: its GPUs, memory and price."""

    gpu: Gpu
    num_gpus: int
    memory_gb: int
    """Main memory of the machine."""
    price: float
    """Price in US dollars an hour."""


T4 = Gpu("T4", 16, has_bfloat16=False)
A10G = Gpu("A10G", 24)
L4 = Gpu("L4", 24)
L40S = Gpu("L40S", 48)
BLACKWELL = Gpu("RTX PRO 6000", 96, needs_cuda_13=True)
A100 = Gpu("A100", 40)
H100 = Gpu("H100", 80)

INSTANCES = {
    "ml.g4dn.xlarge": Instance(T4, 1, 16, 0.7364),
    "ml.g4dn.2xlarge": Instance(T4, 1, 32, 0.94),
    "ml.g4dn.12xlarge": Instance(T4, 4, 192, 4.89),
    "ml.g5.xlarge": Instance(A10G, 1, 16, 1.408),
    "ml.g5.2xlarge": Instance(A10G, 1, 32, 1.515),
    "ml.g5.4xlarge": Instance(A10G, 1, 64, 2.03),
    "ml.g5.12xlarge": Instance(A10G, 4, 192, 7.09),
    "ml.g5.48xlarge": Instance(A10G, 8, 768, 20.36),
    "ml.g6.xlarge": Instance(L4, 1, 16, 1.127),
    "ml.g6.2xlarge": Instance(L4, 1, 32, 1.222),
    "ml.g6e.xlarge": Instance(L40S, 1, 32, 2.61),
    "ml.g6e.2xlarge": Instance(L40S, 1, 64, 2.80),
    "ml.g6e.12xlarge": Instance(L40S, 4, 384, 13.12),
    "ml.g7e.2xlarge": Instance(BLACKWELL, 1, 64, 4.20),
    "ml.p4d.24xlarge": Instance(A100, 8, 1152, 25.25),
    "ml.p5.4xlarge": Instance(H100, 1, 256, 7.912),
    "ml.p5.48xlarge": Instance(H100, 8, 2048, 63.296),
}


@dataclass(frozen=True, slots=True)
class Ami:
    """Driver and CUDA version of a host image: containers use the host's driver."""

    driver: int
    cuda: tuple[int, int]


AMIS = {
    "al2-ami-sagemaker-inference-gpu-2": Ami(535, (12, 2)),
    "al2-ami-sagemaker-inference-gpu-2-1": Ami(535, (12, 2)),
    "al2-ami-sagemaker-inference-gpu-3-1": Ami(550, (12, 4)),
    "al2023-ami-sagemaker-inference-gpu-4-1": Ami(580, (13, 0)),
}

# Host images of batch transform, which are older.
TRANSFORM_AMIS = {
    "al2-ami-sagemaker-batch-gpu-470": Ami(470, (11, 4)),
    "al2-ami-sagemaker-batch-gpu-535": Ami(535, (12, 2)),
}
TRANSFORM_FAMILIES = ("g4dn", "g5", "g6", "g6e")
"""GPU families that batch transform supports. It does not support p4d, p5 and g7e."""
