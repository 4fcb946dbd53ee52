"""Where a server that is measured listens: on ports that nobody uses."""

from __future__ import annotations

import contextlib
import socket

__all__ = ["free_addresses"]

_ADDRESSES = ("inference_address", "management_address", "metrics_address")
_PORTS = ("grpc_inference_port", "grpc_management_port", "initial_worker_port")


def free_addresses() -> dict[str, str]:
    """Settings of config.properties, so that another server may run meanwhile."""
    found = {}
    with contextlib.ExitStack() as sockets:
        for name in (*_ADDRESSES, *_PORTS):
            each = sockets.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = str(each.getsockname()[1])
            found[name] = f"http://127.0.0.1:{port}" if name in _ADDRESSES else port
    return found
