"""Ports of loopback that nobody listens on just now."""

from __future__ import annotations

import contextlib
import socket

__all__ = ["free_ports", "private_ports"]


def free_ports(number: int) -> list[int]:
    """So many, all different."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(number):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found.append(int(probe.getsockname()[1]))
        return found


def private_ports() -> dict[str, str]:
    """Keys of config.properties for all that is not the documents' own port."""
    management, metrics, grpc_1, grpc_2, worker = free_ports(5)
    return {
        "management_address": f"http://127.0.0.1:{management}",
        "metrics_address": f"http://127.0.0.1:{metrics}",
        "grpc_inference_port": str(grpc_1),
        "grpc_management_port": str(grpc_2),
        # No port: it names the worker's socket.
        "initial_worker_port": str(worker),
    }
