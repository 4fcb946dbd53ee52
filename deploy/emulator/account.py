"""An AWS account on loopback for all that is no data plane: moto's server.

With what moto's SageMaker lacks for an endpoint to be deployed: today's instance
types, pools of them, and UpdateEndpoint; an answer about quotas; and percentiles.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from deploy.emulator.http.front import Listener
from deploy.errors import ConfigError

__all__ = ["Account", "percentile", "statistic_of"]

PLAIN = {
    "Sum": "sum",
    "Average": "average",
    "Minimum": "minimum",
    "Maximum": "maximum",
    "SampleCount": "sample_count",
}
PERCENTILE = re.compile(r"p(\d{1,3}(?:\.\d+)?)")


class Account:
    """Empty when it starts, forgotten when it ends; one at a time in a process."""

    def __init__(self) -> None:
        """Raises ConfigError where moto is not installed."""
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
        _complete_moto()
        # What moto knows belongs to the process: an earlier account's is still there.
        BackendDict.reset()
        reset_model_data()

        class Quiet(WSGIRequestHandler):
            """No line for every request."""

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
        self._listener.close()


def _complete_moto() -> None:
    from moto.cloudwatch.models import Statistics
    from moto.sagemaker.models import FakeEndpointConfig, SageMakerModelBackend
    from moto.sagemaker.responses import SageMakerResponse
    from moto.servicequotas.responses import ServiceQuotasResponse

    def skip_validation(self: Any, production_variants: list[dict[str, Any]]) -> None:
        """Its list of instance types ends in 2020."""

    def update_endpoint(self: Any) -> str:
        backend: SageMakerModelBackend = self.sagemaker_backend
        name = self._get_param("EndpointName")
        # Raises where there is none.
        backend.describe_endpoint(name)
        before = backend.endpoints[name]
        endpoint = backend.create_endpoint(
            name, self._get_param("EndpointConfigName"), before.tags
        )
        endpoint.creation_time = before.creation_time
        return json.dumps({"EndpointArn": endpoint.arn})

    def list_service_quotas(self: Any) -> str:
        """None is known, and so none is in the way."""
        return json.dumps({"Quotas": []})

    for cls, name, method in (
        (FakeEndpointConfig, "validate_production_variants", skip_validation),
        (SageMakerResponse, "update_endpoint", update_endpoint),
        (ServiceQuotasResponse, "list_service_quotas", list_service_quotas),
        (Statistics, "get_statistics_for_type", statistic_of),
    ):
        setattr(cls, name, method)


def statistic_of(statistics: Any, name: str) -> float | None:
    """In place of moto's `Statistics.get_statistics_for_type`, with `p50` and the like.

    Of values themselves only, as CloudWatch has them.
    """
    if name in PLAIN:
        value: float | None = getattr(statistics, PLAIN[name])
        return value
    found = PERCENTILE.fullmatch(name)
    if found is None:
        return None
    return percentile(statistics.metric_single_values_list, float(found[1]))


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The nearest rank: of so many in a hundred, none is above it."""
    ordered = sorted(values)
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1] if ordered else None
