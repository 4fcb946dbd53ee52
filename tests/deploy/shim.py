"""WSGI shim in front of moto that adds what moto's SageMaker lacks.

In moto, endpoints are in service at once and cannot be updated, the list of instance
types ends in 2020, and a model can be created twice. With the shim, a change completes
after an endpoint was described a few times, and configs that a test names fail or are
rolled back.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import botocore.session

from deploy.resources import main_variant
from tests.deploy.aws_http import (
    HOME,
    Environ,
    Response,
    error_response,
    forward,
    is_reading,
    parse_call,
    parse_region,
    send_access_denied,
    send_connection_lost,
    send_json,
    send_regions,
)
from tests.deploy.simulations import (
    LAYERS,
    ImageLayers,
    RunTransform,
    SimulatedEndpoint,
    SimulatedJob,
)

Invoked = Callable[[Environ, bytes], tuple[str, list[tuple[str, str]], bytes]]
SUPPORTED_BY_MOTO = "ml.p3.2xlarge"


@dataclass
class Shim:
    """WSGI application in front of moto, which a test configures; records all calls."""

    app: Callable[..., Iterable[bytes]]
    num_descriptions: int = 2
    """Number of descriptions of an endpoint until its change is complete."""
    failing: dict[str, str] = field(default_factory=dict)
    """Failure reasons by endpoint config.

    Creating an endpoint with such a config fails; an update to it is rolled back.
    """
    counts: dict[str, int] = field(default_factory=dict)
    """Number of instances by endpoint, if it differs from the endpoint config."""
    limits: dict[str, int] = field(default_factory=dict)
    """Quota of instances by instance type; unlimited for other types."""
    crash_before: int | None = None
    """Number of the changing call before which the connection is lost."""
    crash_after: int | None = None
    """Number of the changing call after which the connection is lost."""
    forbidden: set[str] = field(default_factory=set)
    """Calls (service:Operation) that the caller may not make; not for S3 and IAM."""
    clock: Callable[[], float] = time.time
    """Clock for the end of transform jobs and the creation of schedules."""
    calls: list[str] = field(default_factory=list)
    """All calls so far, as service:Operation."""
    invoked: Invoked | None = None
    """Handler of invocations."""
    transformed: RunTransform | None = None
    """Runs a transform job, once it was described often enough."""
    jobs: dict[str, SimulatedJob] = field(default_factory=dict)
    machines: dict[str, SimulatedEndpoint] = field(default_factory=dict)
    variants: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Production variants by endpoint config."""
    with_data_source: set[str] = field(default_factory=set)
    """Models with a ModelDataSource, which batch transform rejects."""
    regions: list[str] = field(default_factory=lambda: [HOME])
    """Regions that the account has enabled."""
    elsewhere: dict[str, Shim] = field(default_factory=dict)
    """Shims of other regions, created at their first request."""
    _isolation: dict[str, bool] = field(default_factory=dict)
    _scheduled: dict[str, float] = field(default_factory=dict)
    """Time of creation of each schedule, by its path."""
    _layers: ImageLayers = field(default_factory=ImageLayers)

    @property
    def changes(self) -> list[str]:
        """Calls of operations that change resources."""
        return [call for call in self.calls if not is_reading(call)]

    def __call__(self, environ: Environ, start: Callable[..., Any]) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        if "invocations" in environ["PATH_INFO"] and self.invoked is not None:
            status, headers, content = self.invoked(environ, body)
            start(status, [*headers, ("Content-Length", str(len(content)))])
            return [content]
        if environ["PATH_INFO"].startswith(LAYERS):
            content = self._layers.content(environ["PATH_INFO"])
            start("200 OK", [("Content-Length", str(len(content)))])
            return [content]
        call = parse_call(environ, body)
        self.calls.append(call)
        region = parse_region(environ)
        if self.forbidden & {call, f"{region}/{call}"}:
            text = f"User is not authorized to perform: {call}"
            return send_access_denied(start, call, text)
        if call == "ec2:DescribeRegions":
            return send_regions(start, self.regions)
        if "Dashboard" in call:
            # Dashboards are global, but moto stores them by region.
            scope = environ["HTTP_AUTHORIZATION"]
            environ["HTTP_AUTHORIZATION"] = scope.replace(f"/{region}/", f"/{HOME}/")
        elif region != HOME and call.startswith("sagemaker:"):
            shim = self.elsewhere.setdefault(region, Shim(self.app))
            return shim.answer(environ, start, call, body)
        return self.answer(environ, start, call, body)

    def answer(
        self, environ: Environ, start: Callable[..., Any], call: str, body: bytes
    ) -> Iterable[bytes]:
        """Handle a request of one region."""
        crash = is_reading(call) is False and len(self.changes)
        if crash and crash == self.crash_before:
            return send_connection_lost(start, call, "before")
        if call.startswith("sagemaker:"):
            handler = getattr(self, _method_name(call), None)
            request = json.loads(body or b"{}")
            answer = handler(environ, request) if handler else None
            if answer is None:
                answer = self._forward_to_moto(environ, request)
            if crash and crash == self.crash_after:
                return send_connection_lost(start, call, "after")
            return send_json(start, answer)
        if call.startswith("ecr:"):
            answer = self._layers.answer(environ, call, json.loads(body or b"{}"))
            if answer is not None:
                return send_json(start, answer)
        if call == "servicequotas:ListServiceQuotas":
            return send_json(start, ("200 OK", {"Quotas": self._list_quotas()}))
        result, status, headers = forward(self.app, environ, body)
        if crash and crash == self.crash_after:
            return send_connection_lost(start, call, "after")
        if environ["PATH_INFO"].startswith("/schedules/"):
            return self._send_schedule(environ, start, status, result)
        start(status, headers)
        return [result]

    def _send_schedule(
        self, environ: Environ, start: Callable[..., Any], status: str, result: bytes
    ) -> Iterable[bytes]:
        """Send moto's response with the time of creation by the test's clock."""
        path, answer = environ["PATH_INFO"], json.loads(result or b"{}")
        if environ["REQUEST_METHOD"] == "POST":
            self._scheduled[path] = self.clock()
        if "CreationDate" in answer:
            answer["CreationDate"] = self._scheduled[path]
        return send_json(start, (status, answer))

    def _create_model(
        self, environ: Environ, request: dict[str, Any]
    ) -> Response | None:
        if request["ModelName"] in self._isolation:
            return error_response(
                "ValidationException", "Cannot create already existing model"
            )
        self._isolation[request["ModelName"]] = request["EnableNetworkIsolation"]
        if "ModelDataSource" in request["PrimaryContainer"]:
            self.with_data_source.add(request["ModelName"])
        return None

    def _describe_model(self, environ: Environ, request: dict[str, Any]) -> Response:
        status, answer = self._forward_to_moto(environ, request)
        if "ModelName" in answer:
            answer["EnableNetworkIsolation"] = self._isolation[answer["ModelName"]]
        return status, answer

    def _delete_model(self, environ: Environ, request: dict[str, Any]) -> None:
        self._isolation.pop(request["ModelName"], None)

    def _create_endpoint_config(
        self, environ: Environ, request: dict[str, Any]
    ) -> Response:
        name, variants = request["EndpointConfigName"], request["ProductionVariants"]
        if name in self.variants:
            return error_response(
                "ValidationException",
                "Cannot create already existing endpoint configuration",
            )
        types = {
            instance_type
            for variant in variants
            for instance_type in (
                [variant["InstanceType"]]
                if "InstanceType" in variant
                else [pool["InstanceType"] for pool in variant["InstancePools"]]
            )
        }
        if not types <= instance_types():
            return error_response(
                "ValidationException", f"no such instance type: {types}"
            )
        plain = [{**v, "InstanceType": SUPPORTED_BY_MOTO} for v in variants]
        answer = self._forward_to_moto(
            environ, {**request, "ProductionVariants": plain}
        )
        if answer[0].startswith("200"):
            self.variants[name] = variants
        return answer

    def _describe_endpoint_config(
        self, environ: Environ, request: dict[str, Any]
    ) -> Response:
        status, answer = self._forward_to_moto(environ, request)
        if "EndpointConfigName" in answer:
            answer["ProductionVariants"] = self.variants[answer["EndpointConfigName"]]
        return status, answer

    def _delete_endpoint_config(
        self, environ: Environ, request: dict[str, Any]
    ) -> None:
        self.variants.pop(request["EndpointConfigName"], None)

    def _create_endpoint(self, environ: Environ, request: dict[str, Any]) -> Response:
        name, config = request["EndpointName"], request["EndpointConfigName"]
        if name in self.machines:
            return error_response(
                "ValidationException", "Cannot create already existing endpoint"
            )
        if error := self._check_quota(config):
            return error
        answer = self._forward_to_moto(environ, request)
        if answer[0].startswith("200"):
            self.machines[name] = SimulatedEndpoint(config)
        return answer

    def _update_endpoint(self, environ: Environ, request: dict[str, Any]) -> Response:
        endpoint = self.machines.get(request["EndpointName"])
        config = request["EndpointConfigName"]
        if endpoint is None or config not in self.variants:
            return error_response("ValidationException", "Could not find it")
        if endpoint.status != "InService":
            return error_response(
                "ValidationException", "Cannot update in-progress endpoint"
            )
        if error := self._check_quota(config):
            return error
        endpoint.status, endpoint.pending, endpoint.num_descriptions = (
            "Updating",
            config,
            0,
        )
        self.counts.pop(request["EndpointName"], None)
        return "200 OK", {"EndpointArn": f"arn:aws:sagemaker:::{endpoint.config}"}

    def _update_endpoint_weights_and_capacities(
        self, environ: Environ, request: dict[str, Any]
    ) -> Response:
        endpoint = self.machines.get(request["EndpointName"])
        if endpoint is None or endpoint.status != "InService":
            return error_response(
                "ValidationException", "Cannot update in-progress endpoint"
            )
        (change,) = request["DesiredWeightsAndCapacities"]
        endpoint.status, endpoint.num_descriptions = "Updating", 0
        endpoint.pending_count = change["DesiredInstanceCount"]
        return "200 OK", {"EndpointArn": f"arn:aws:sagemaker:::{endpoint.config}"}

    def _delete_endpoint(
        self, environ: Environ, request: dict[str, Any]
    ) -> Response | None:
        endpoint = self.machines.get(request["EndpointName"])
        if endpoint is None:
            return None
        if endpoint.status in ("Creating", "Updating", "RollingBack"):
            return error_response(
                "ValidationException", "Cannot delete in-progress endpoint"
            )
        endpoint.status, endpoint.num_descriptions = "Deleting", 0
        return "200 OK", {}

    def _describe_endpoint(self, environ: Environ, request: dict[str, Any]) -> Response:
        name = request["EndpointName"]
        endpoint = self.machines.get(name)
        if endpoint is not None:
            self._advance(environ, name, endpoint)
        status, answer = self._forward_to_moto(environ, request)
        endpoint = self.machines.get(name)
        if endpoint is None or not status.startswith("200"):
            return status, answer
        count = self.counts.get(name, self._count_instances(endpoint))
        desired = endpoint.pending_count
        variants = self.variants.get(endpoint.config, [{"VariantName": "AllTraffic"}])
        ours = main_variant({"ProductionVariants": variants})["VariantName"]
        answer |= {
            "EndpointStatus": endpoint.status,
            "EndpointConfigName": endpoint.config,
            "ProductionVariants": [
                self._summarize(variant, ours, count, desired) for variant in variants
            ],
        }
        if endpoint.failure is not None:
            answer["FailureReason"] = endpoint.failure
        if endpoint.status in ("Creating", "Updating"):
            answer["PendingDeploymentSummary"] = {
                "EndpointConfigName": endpoint.pending or endpoint.config,
                "ProductionVariants": [
                    {
                        "VariantName": "AllTraffic",
                        "VariantStatus": [{"Status": "Creating"}],
                    }
                ],
            }
        return status, answer

    @staticmethod
    def _summarize(
        variant: dict[str, Any], ours: str, count: int, desired: int | None
    ) -> dict[str, Any]:
        name = variant["VariantName"]
        if name != ours:
            count = desired = variant["InitialInstanceCount"]
        return {
            "VariantName": name,
            "CurrentInstanceCount": count,
            "DesiredInstanceCount": count if desired is None else desired,
        }

    def _advance(
        self, environ: Environ, name: str, endpoint: SimulatedEndpoint
    ) -> None:
        if endpoint.status in ("InService", "Failed", "OutOfService"):
            return
        endpoint.num_descriptions += 1
        if endpoint.num_descriptions <= self.num_descriptions:
            return
        if endpoint.status == "Deleting":
            target = environ["HTTP_X_AMZ_TARGET"]
            environ["HTTP_X_AMZ_TARGET"] = "SageMaker.DeleteEndpoint"
            self._forward_to_moto(environ, {"EndpointName": name})
            environ["HTTP_X_AMZ_TARGET"] = target
            del self.machines[name]
            return
        target_config = endpoint.pending or endpoint.config
        endpoint.failure = self.failing.get(target_config)
        if endpoint.failure is None:
            endpoint.count, endpoint.pending_count = endpoint.pending_count, None
            endpoint.config, endpoint.status = target_config, "InService"
        else:
            endpoint.status = "InService" if endpoint.pending else "Failed"
        endpoint.pending = None

    def _count_instances(self, endpoint: SimulatedEndpoint) -> int:
        variants = self.variants.get(endpoint.config, [{}])
        # Only the instance count of our variant is ever changed.
        variant = main_variant({"ProductionVariants": variants})
        initial = int(variant.get("InitialInstanceCount", 1))
        return initial if endpoint.count is None else endpoint.count

    def _check_quota(self, config: str) -> Response | None:
        """Return an error message if a config and running endpoints exceed a quota."""
        variant = self.variants.get(config, [{}])[0]
        instance_type = str(variant.get("InstanceType"))
        allowed = self.limits.get(instance_type)
        used = sum(
            self._count_instances(endpoint)
            for endpoint in self.machines.values()
            if endpoint.status != "Failed"
            and self.variants.get(endpoint.config, [{}])[0].get("InstanceType")
            == instance_type
        )
        if allowed is None or used + variant.get("InitialInstanceCount", 1) <= allowed:
            return None
        return error_response(
            "ResourceLimitExceeded",
            f"The account-level service limit '{instance_type} for endpoint usage' is "
            f"{allowed} Instances, with current utilization of {used} Instances",
        )

    def _create_transform_job(
        self, environ: Environ, request: dict[str, Any]
    ) -> Response:
        name = request["TransformJobName"]
        if name in self.jobs:
            return error_response(
                "ResourceInUse", "Job name must be unique: already exists"
            )
        if request["ModelName"] not in self._isolation:
            return error_response("ValidationException", "Could not find model")
        if request["ModelName"] in self.with_data_source:
            return error_response(
                "ValidationException",
                "SageMaker Batch currently doesn't support Model entity with container "
                "definitions which use ModelDataSource attribute",
            )
        answer = self._forward_to_moto(environ, request)
        if answer[0].startswith("200"):
            self.jobs[name] = SimulatedJob(request)
        return answer

    def _describe_transform_job(
        self, environ: Environ, request: dict[str, Any]
    ) -> Response:
        status, answer = self._forward_to_moto(environ, request)
        job = self.jobs.get(request["TransformJobName"])
        if job is None:
            return error_response("ValidationException", "Could not find requested job")
        job.describe_once(self.num_descriptions, self.transformed, self.clock)
        answer |= {"TransformJobStatus": job.status, "FailureReason": job.failure or ""}
        if job.status in ("InProgress", "Stopping"):
            answer.pop("TransformEndTime", None)
        else:
            answer["TransformEndTime"] = job.ended
        return status, answer

    def _list_transform_jobs(
        self, environ: Environ, request: dict[str, Any]
    ) -> Response:
        status_filter = request.pop("StatusEquals", None)
        status, answer = self._forward_to_moto(environ, request)
        summaries = answer["TransformJobSummaries"]
        for summary in summaries:
            name = summary["TransformJobName"]
            summary["TransformJobStatus"] = self.jobs[name].status
        answer["TransformJobSummaries"] = [
            summary
            for summary in summaries
            if status_filter in (None, summary["TransformJobStatus"])
        ]
        return status, answer

    def _stop_transform_job(
        self, environ: Environ, request: dict[str, Any]
    ) -> Response:
        job = self.jobs.get(request["TransformJobName"])
        if job is None or job.status != "InProgress":
            return error_response("ValidationException", "The job cannot be stopped")
        job.status, job.num_descriptions = "Stopping", 0
        return "200 OK", {}

    def _list_quotas(self) -> list[dict[str, Any]]:
        return [
            {
                "QuotaName": f"{instance_type} for {usage}",
                "QuotaCode": f"L-{number:08}",
                "Value": float(self.limits.get(instance_type, 4)),
            }
            for usage in ("endpoint usage", "transform job usage")
            for number, instance_type in enumerate(sorted(instance_types()))
        ]

    def _forward_to_moto(self, environ: Environ, request: dict[str, Any]) -> Response:
        body, status, _ = forward(self.app, environ, json.dumps(request).encode())
        return status, json.loads(body or b"{}")


def _method_name(call: str) -> str:
    operation = call.partition(":")[2]
    return re.sub(r"([A-Z])", r"_\1", operation).lower()


@functools.cache
def instance_types() -> set[str]:
    model = botocore.session.get_session().get_service_model("sagemaker")
    return set(model.shape_for("ProductionVariantInstanceType").enum)
