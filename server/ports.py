"""Ports of loopback that nobody listens on just now."""

from __future__ import annotations

import contextlib
import socket

__all__ = ["free_addresses", "free_ports", "private_ports"]


def free_ports(number: int) -> list[int]:
    """So many, all different."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(number):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found.append(int(probe.getsockname()[1]))
        return found


def free_addresses() -> dict[str, str]:
    """Keys of config.properties for all ports, so that another server may run too."""
    inference, management, metrics, grpc_1, grpc_2, worker = free_ports(6)
    return {
        "inference_address": f"http://127.0.0.1:{inference}",
        "management_address": f"http://127.0.0.1:{management}",
        "metrics_address": f"http://127.0.0.1:{metrics}",
        "grpc_inference_port": str(grpc_1),
        "grpc_management_port": str(grpc_2),
        # No port: it names the worker's socket.
        "initial_worker_port": str(worker),
    }


def private_ports() -> dict[str, str]:
    """The same for all but the documents' own port."""
    addresses = free_addresses()
    del addresses["inference_address"]
    return addresses
