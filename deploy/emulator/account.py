"""Emulated AWS account: moto's server on loopback, for everything but the data plane.

It adds what moto lacks for deploying an endpoint: current instance types, instance
pools, UpdateEndpoint, a response to ListServiceQuotas, and percentiles of metrics.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from deploy.emulator.http.front import Listener
from deploy.errors import ConfigError

__all__ = ["EmulatedAccount", "compute_percentile", "get_statistic"]

SIMPLE_STATISTICS = {
    "Sum": "sum",
    "Average": "average",
    "Minimum": "minimum",
    "Maximum": "maximum",
    "SampleCount": "sample_count",
}
PERCENTILE = re.compile(r"p(\d{1,3}(?:\.\d+)?)")


class EmulatedAccount:
    """AWS account that starts empty and is lost when it is closed.

    A process has at most one at a time, because moto keeps its state in globals.
    """

    def __init__(self) -> None:
        """Patch moto, delete what an earlier account left in it, and start its server.

        Raises ConfigError if moto's server is not installed.
        """
        try:
            from moto.core.base_backend import BackendDict
            from moto.core.model_instances import reset_model_data
            from moto.moto_server.werkzeug_app import (
                DomainDispatcherApplication,
                create_backend_app,
            )
            from werkzeug.serving import WSGIRequestHandler, make_server
        except ImportError as error:
            raise ConfigError(
                f"moto's server is not installed: {error}",
                hint="pip install 'moto[server]', or --backend URL",
            ) from error
        _patch_moto()
        # moto's state is global: it still holds the resources of an earlier account.
        BackendDict.reset()
        reset_model_data()

        class Quiet(WSGIRequestHandler):
            """Request handler that does not log requests."""

            def log_request(self, *_: object) -> None: ...

        self._listener = Listener(
            make_server(
                "127.0.0.1",
                0,
                DomainDispatcherApplication(create_backend_app),
                threaded=True,
                request_handler=Quiet,
            )
        )
        self._listener.start()
        self.address = self._listener.address

    def close(self) -> None:
        """Stop the server; the resources of the account are lost."""
        self._listener.close()


def _patch_moto() -> None:
    from moto.cloudwatch.models import Statistics
    from moto.sagemaker.models import FakeEndpointConfig, SageMakerModelBackend
    from moto.sagemaker.responses import SageMakerResponse
    from moto.servicequotas.responses import ServiceQuotasResponse

    def skip_validation(self: Any, production_variants: list[dict[str, Any]]) -> None:
        """Accept every instance type, because moto's list ends in 2020."""

    def update_endpoint(self: Any) -> str:
        backend: SageMakerModelBackend = self.sagemaker_backend
        name = self._get_param("EndpointName")
        # Raises an error if the endpoint does not exist.
        backend.describe_endpoint(name)
        old = backend.endpoints[name]
        endpoint = backend.create_endpoint(
            name, self._get_param("EndpointConfigName"), old.tags
        )
        endpoint.creation_time = old.creation_time
        return json.dumps({"EndpointArn": endpoint.arn})

    def list_service_quotas(self: Any) -> str:
        """Return no quotas, so that quota checks pass."""
        return json.dumps({"Quotas": []})

    for cls, name, method in (
        (FakeEndpointConfig, "validate_production_variants", skip_validation),
        (SageMakerResponse, "update_endpoint", update_endpoint),
        (ServiceQuotasResponse, "list_service_quotas", list_service_quotas),
        (Statistics, "get_statistics_for_type", get_statistic),
    ):
        setattr(cls, name, method)


def get_statistic(statistics: Any, name: str) -> float | None:
    """Return a statistic such as `Sum` or `p50`, or None if moto does not know it.

    Replaces moto's `Statistics.get_statistics_for_type`, which has no percentiles.
    Like CloudWatch, it computes percentiles only from individual values, not from
    statistic sets.
    """
    if name in SIMPLE_STATISTICS:
        value: float | None = getattr(statistics, SIMPLE_STATISTICS[name])
        return value
    match = PERCENTILE.fullmatch(name)
    if match is None:
        return None
    return compute_percentile(statistics.metric_single_values_list, float(match[1]))


def compute_percentile(values: Sequence[float], percent: float) -> float | None:
    """Return a percentile by the nearest-rank method, or None if there is no value."""
    ordered = sorted(values)
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1] if ordered else None
