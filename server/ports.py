"""Ports of loopback that nobody listens on just now."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket

__all__ = ["RANGE", "free_addresses", "free_ports", "private_ports"]

RANGE = range(20_000, 32_768)
"""Below Linux's ephemeral ports, which any connection of the machine may take before
the server listens."""
_STRIDE = 1009
"""Ports between the first candidates of two processes with successive ids."""
_numbers = itertools.count(os.getpid() * _STRIDE)


def free_ports(number: int) -> list[int]:
    """Return so many different ports that are free.

    They are released again before a server listens on them. So that two processes do
    not offer the same port meanwhile, each walks through the range from its own start.
    Raises OSError if too few ports of the range are free.
    """
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        for candidate in itertools.islice(_numbers, len(RANGE)):
            port = RANGE[candidate % len(RANGE)]
            probe = socket.socket()
            stack.callback(probe.close)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                probe.close()
                continue
            found.append(port)
            if len(found) == number:
                return found
    raise OSError(f"fewer than {number} ports are free from {RANGE[0]} to {RANGE[-1]}")


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
