"""Emulator: routes requests, creates containers, and runs transform jobs."""

from __future__ import annotations

import json
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from deploy.emulator.asynchronous.queues import AsyncEndpoints
from deploy.emulator.backend import Backend, HostedEndpoint, get_environment
from deploy.emulator.containers import (
    Container,
    ContainerFleet,
    ExternalContainer,
    ManagedContainer,
    build_environment,
)
from deploy.emulator.endpoint import ServedEndpoint
from deploy.emulator.http.forward import forward
from deploy.emulator.http.front import FrontServer
from deploy.emulator.http.wire import (
    Request,
    Response,
    ServiceError,
    build_json_response,
)
from deploy.emulator.limits import Assumptions, SageMakerLimits
from deploy.emulator.logs import Logs, LogStream
from deploy.emulator.metrics import EmulatedMetrics
from deploy.emulator.process import Process
from deploy.emulator.runtime import RealTimeRuntime
from deploy.emulator.transform.batch import BatchRun
from deploy.emulator.transform.jobs import EmulatedJob, EmulatedJobs
from deploy.emulator.transform.settings import build_batch_environment
from deploy.errors import DeployError

__all__ = ["Emulator", "ServerProgram"]

TRANSFORM_GROUP = "/aws/sagemaker/TransformJobs"
ENDPOINT_GROUP = "/aws/sagemaker/Endpoints/"
CHANGING_PREFIXES = ("Create", "Update", "Delete")
CHECKED_OPERATIONS = {
    "CreateEndpointConfig": "create_endpoint_config",
    "CreateTransformJob": "create_transform_job",
}
"""Operations with an instance type, with their boto3 method names."""


@dataclass(frozen=True, slots=True)
class ServerProgram:
    """Program that starts the project's own server."""

    folder: Path
    weights: str | None
    """Folder that replaces the weights of every model; None keeps them."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables of every container, for example credentials."""
    command: tuple[str, ...] = (sys.executable, "-m", "server.container", "serve")


class Emulator:
    """SageMaker's data plane on a loopback port, from `start` until `close`."""

    def __init__(
        self,
        backend: Backend,
        *,
        server: str | ServerProgram,
        region: str,
        print_line: Callable[[str], None],
        port: int = 0,
        limits: SageMakerLimits | None = None,
        assumptions: Assumptions | None = None,
    ) -> None:
        """Bind the port; raises OSError if it is in use.

        `server` is the address of a running server, or a program that starts one.
        `print_line` prints log lines.
        """
        self._backend = backend
        self._server = server
        self._region = region
        self._limits = limits or SageMakerLimits()
        self._assumptions = assumptions or Assumptions()
        self._front = FrontServer(port)
        self.logs = Logs(print_line, backend)
        self.metrics = EmulatedMetrics(
            backend,
            lambda: self.asynchronous.read_levels(),
            interval_seconds=self._assumptions.metrics_seconds,
            print_line=self.logs.print_line,
        )
        self._instances: dict[str, str] = {}
        self._lock = threading.Lock()
        self.fleet = ContainerFleet(self._create_container)
        self.runtime = RealTimeRuntime(
            self.find_endpoint, backend, self._limits, self.logs, self.metrics
        )
        self.asynchronous = AsyncEndpoints(
            self.find_endpoint,
            backend,
            self.logs,
            self._limits,
            self._assumptions,
            self.metrics,
        )
        self.jobs = EmulatedJobs(self._run_job, backend.find_model)

    @property
    def address(self) -> str:
        return self._front.address

    def start(self) -> None:
        """Start to serve requests and to publish metrics, in background threads."""
        self._front.serve(self.handle)
        self.metrics.start()

    def close(self) -> None:
        """Stop everything that the emulator started."""
        self.metrics.close()
        self.asynchronous.stop()
        self.jobs.close()
        self.fleet.close()
        self._front.close()
        self.logs.close()

    def handle(self, request: Request) -> Response:
        """Return the response to a request; errors become error responses.

        Requests that the emulator does not handle are forwarded to the backend.
        """
        region, service = request.scope
        region = region or self._region
        parts = request.path.strip("/").split("/")
        is_sagemaker = service in (None, "sagemaker")
        is_rest = len(parts) == 3 and parts[0] == "endpoints" and is_sagemaker
        try:
            if is_rest and request.method == "POST":
                return self._handle_data_plane(
                    region, unquote(parts[1]), parts[2], request
                )
            operation = (request.operation or "").partition("SageMaker.")[2]
            if service == "sagemaker" and operation:
                return self._handle_control_plane(region, operation, request)
            url = self._backend.s3_url if service == "s3" else self._backend.url
            return forward(request, url)
        except ServiceError as error:
            service_error = error
        except DeployError as error:
            service_error = ServiceError("ServiceUnavailable", error.message, 503)
        except Exception as error:
            self.logs.print_line(f"internal error of the emulator: {error!r}")
            service_error = ServiceError("InternalFailure", repr(error), 500)
        return service_error.to_rest() if is_rest else service_error.to_json()

    def _handle_data_plane(
        self, region: str, name: str, operation: str, request: Request
    ) -> Response:
        if operation == "invocations":
            return self.runtime.invoke(region, name, request)
        if operation == "invocations-response-stream":
            return self.runtime.stream(region, name, request)
        if operation == "async-invocations":
            return self.asynchronous.invoke(region, name, request)
        raise ServiceError(
            "UnknownOperationException", f"no such operation: {operation}", 404
        )

    def _handle_control_plane(
        self, region: str, operation: str, request: Request
    ) -> Response:
        body = request.body.read()
        params = _parse_object(body)
        self._check_request(region, operation, params)
        if operation == "CreateTransformJob":
            result = self.jobs.create(region, params)
            # The backend stores the tags of the job.
            self._read_to_end(forward(request, self._backend.url, body))
            return build_json_response(result)
        handlers = {
            "DescribeTransformJob": self.jobs.describe,
            "StopTransformJob": self.jobs.stop,
            "ListTransformJobs": self.jobs.list,
        }
        if operation in handlers:
            return build_json_response(handlers[operation](region, params))
        response = forward(request, self._backend.url, body)
        if operation == "DescribeEndpoint" and response.status == 200:
            return self._correct_description(region, params, response)
        if operation.startswith(CHANGING_PREFIXES):
            self._backend.clear_cache()
            if operation.endswith("Endpoint") and response.status == 200:
                self._apply_endpoint_change(region, operation, params["EndpointName"])
        return response

    def _check_request(
        self, region: str, operation: str, params: dict[str, Any]
    ) -> None:
        """Raise ServiceError for values that the service model does not allow.

        The backend accepts any instance type; SageMaker only those that it offers.
        """
        if operation not in CHECKED_OPERATIONS:
            return
        violations = self._backend.find_violations(
            region, CHECKED_OPERATIONS[operation], params, service="sagemaker"
        )
        if violations:
            raise ServiceError(
                "ValidationException",
                f"{len(violations)} validation errors detected: "
                + "; ".join(violations),
            )

    @staticmethod
    def _read_to_end(response: Response) -> None:
        for _ in response.body:
            pass

    def find_endpoint(self, region: str, name: str) -> ServedEndpoint:
        """Return an endpoint with its container, which is created at the first call.

        Raises ServiceError if the endpoint does not exist, or the emulator is closing.
        """
        hosted = self._backend.find_endpoint(region, name)
        if hosted is None:
            raise ServiceError(
                "ValidationError", f"Endpoint {name} not found in {region}."
            )
        served = ServedEndpoint(
            hosted, self._get_container(hosted), self._get_log_stream(hosted)
        )
        if hosted.asynchronous is not None:
            self.asynchronous.track_endpoint(served)
        return served

    def _get_container(self, hosted: HostedEndpoint) -> Container:
        return self.fleet.get_container(
            (hosted.region, hosted.name),
            (hosted.config, hosted.created, tuple(sorted(hosted.environment.items()))),
            region=hosted.region,
            stream=self._get_log_stream(hosted),
            environment=hosted.environment,
            startup_seconds=hosted.startup_seconds,
            variant=hosted.variant,
        )

    def _get_log_stream(self, hosted: HostedEndpoint) -> LogStream:
        instance = self._get_instance_id(f"{hosted.region}/{hosted.name}")
        return LogStream(
            hosted.region, ENDPOINT_GROUP + hosted.name, f"{hosted.variant}/{instance}"
        )

    def _get_instance_id(self, owner: str) -> str:
        """Return a made-up instance id, the same for every call of an owner."""
        with self._lock:
            return self._instances.setdefault(owner, f"i-{uuid.uuid4().hex[:17]}")

    def _correct_description(
        self, region: str, params: Mapping[str, Any], response: Response
    ) -> Response:
        """Replace the status InService in a description by that of the container.

        Like SageMaker, report an endpoint as in service only once it is healthy.
        """
        described = json.loads(b"".join(response.body))  # type: ignore[arg-type]
        name = params["EndpointName"]
        try:
            self.find_endpoint(region, name)
        except (ServiceError, DeployError, ValueError):
            return build_json_response(described)
        if described.get("EndpointStatus") == "InService":
            status, failure = self.fleet.get_endpoint_status((region, name))
            described["EndpointStatus"] = status
            if failure is not None:
                described["FailureReason"] = failure
        return build_json_response(described)

    def _apply_endpoint_change(self, region: str, operation: str, name: str) -> None:
        """Start or stop the container of a created, updated or deleted endpoint.

        SageMaker starts a container with the endpoint, not at its first use.
        """
        if operation.startswith("Delete"):
            self.asynchronous.forget_endpoint(region, name)
            self.fleet.remove((region, name), waits=False)
            return
        try:
            self.find_endpoint(region, name)
        except (ServiceError, DeployError, ValueError) as error:
            self.logs.print_line(f"{name} | {error}")

    def _create_container(
        self,
        owner: tuple[str, str],
        *,
        region: str,
        stream: LogStream,
        environment: Mapping[str, str],
        startup_seconds: float | None = None,
        variant: str = "AllTraffic",
    ) -> Container:
        """Create the container of an owner, which is a region and a name.

        If the emulator uses a running server, every owner shares it.
        """
        program = self._server
        if isinstance(program, str):
            return ExternalContainer(program, self._limits)

        def start(port: int) -> Process:
            """Start the server on `port`, in the environment of a container."""
            assert isinstance(program, ServerProgram)
            environ = build_environment(
                environment,
                {
                    **program.environ,
                    "AWS_ENDPOINT_URL": self.address,
                    "BIND_ADDRESS": "127.0.0.1",
                    "SAGEMAKER_BIND_TO_PORT": str(port),
                    "PRIVATE_PORTS": "any",
                },
                region=region,
                weights=program.weights,
            )
            return Process(
                program.command,
                environ,
                folder=program.folder,
                on_line=lambda text: self.logs.write(stream, text),
            )

        return ManagedContainer(
            start,
            lambda text: self.logs.print_line(f"{owner[1]} | {text}"),
            limits=self._limits,
            assumptions=self._assumptions,
            startup_seconds=startup_seconds,
            variant=variant,
        )

    def _run_job(self, job: EmulatedJob) -> None:
        """Run a transform job in its own container, which is stopped at the end."""
        owner = (job.region, f"transform job {job.name}")
        failure: str | None = "InternalServerError: We encountered an internal error."
        try:
            instance = self._get_instance_id("/".join(owner))
            stream = LogStream(job.region, TRANSFORM_GROUP, f"{job.name}/{instance}")
            model = self._backend.find_model(job.region, job.request["ModelName"])
            container = self.fleet.get_container(
                owner,
                job.name,
                region=job.region,
                stream=stream,
                environment={
                    **get_environment(model),
                    **build_batch_environment(job.request),
                },
            )
            batch = BatchRun(
                job,
                container,
                stream,
                backend=self._backend,
                logs=self.logs,
                limits=self._limits,
                assumptions=self._assumptions,
            )
            failure = batch.run()
        except Exception as error:
            self.logs.print_line(f"{job.name} | {error!r}")
        finally:
            self.fleet.remove(owner)
            job.record_end(failure)
            self.logs.print_line(
                f"{job.name} | {job.status}: {job.failure or 'all objects succeeded'}"
            )


def _parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a request; raises ServiceError for other content."""
    try:
        params = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        params = None
    if not isinstance(params, dict):
        raise ServiceError("SerializationException", "the body is not a JSON object")
    return params
