"""All of it together: who answers which request, and what is started and ended."""

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

from deploy.emulator.asynchronous.queues import Asynchronous
from deploy.emulator.backend import Backend, Hosted, environment_of
from deploy.emulator.containers import Container, Fleet, Own, Remote, environment_for
from deploy.emulator.http.forward import forward
from deploy.emulator.http.front import Front
from deploy.emulator.http.wire import Answer, Refusal, Request, json_answer
from deploy.emulator.limits import Assumed, Limits
from deploy.emulator.logs import Logs, Stream
from deploy.emulator.metrics import Metrics
from deploy.emulator.process import Process
from deploy.emulator.runtime import Runtime
from deploy.emulator.served import Served
from deploy.emulator.transform.batch import Batch
from deploy.emulator.transform.jobs import TransformJob, TransformJobs
from deploy.emulator.transform.plan import batch_environment
from deploy.errors import DeployError

__all__ = ["Emulator", "ServerProgram"]

TRANSFORM_GROUP = "/aws/sagemaker/TransformJobs"
ENDPOINT_GROUP = "/aws/sagemaker/Endpoints/"
CHANGES = ("Create", "Update", "Delete")
CHECKED = {
    "CreateEndpointConfig": "create_endpoint_config",
    "CreateTransformJob": "create_transform_job",
}
"""Requests with an instance type, and boto3's names for them."""


@dataclass(frozen=True, slots=True)
class ServerProgram:
    """How the project's own server is started."""

    folder: Path
    weights: str | None
    """A folder, in place of those that a model names; None: those."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """For every container: credentials, say."""
    command: tuple[str, ...] = (sys.executable, "-m", "server.container", "serve")


class Emulator:
    """Answers from `start` until `close`."""

    def __init__(
        self,
        backend: Backend,
        *,
        server: str | ServerProgram,
        region: str,
        say: Callable[[str], None],
        port: int = 0,
        limits: Limits | None = None,
        assumed: Assumed | None = None,
    ) -> None:
        """`server` is an address, or how to start one. Raises OSError for the port."""
        self._backend = backend
        self._server = server
        self._region = region
        self._limits = limits or Limits()
        self._assumed = assumed or Assumed()
        self._front = Front(port)
        self.logs = Logs(say, backend)
        self.metrics = Metrics(
            backend,
            lambda: self.asynchronous.levels(),
            every_seconds=self._assumed.metrics_seconds,
            say=self.logs.say,
        )
        self._instances: dict[str, str] = {}
        self._lock = threading.Lock()
        self.fleet = Fleet(self._make)
        self.runtime = Runtime(
            self.served, backend, self._limits, self.logs, self.metrics
        )
        self.asynchronous = Asynchronous(
            self.served,
            backend,
            self.logs,
            self._limits,
            self._assumed,
            self.metrics,
        )
        self.jobs = TransformJobs(self._run, backend.model)

    @property
    def address(self) -> str:
        return self._front.address

    def start(self) -> None:
        self._front.serve(self.answer)
        self.metrics.start()

    def close(self) -> None:
        """End everything that was started."""
        self.metrics.close()
        self.asynchronous.stop()
        self.jobs.close()
        self.fleet.close()
        self._front.close()
        self.logs.close()

    # Who answers

    def answer(self, request: Request) -> Answer:
        """Never raises."""
        region, service = request.scope
        region = region or self._region
        parts = request.path.strip("/").split("/")
        is_ours = service in (None, "sagemaker")
        is_rest = len(parts) == 3 and parts[0] == "endpoints" and is_ours
        try:
            if is_rest and request.method == "POST":
                return self._data_plane(region, unquote(parts[1]), parts[2], request)
            operation = (request.operation or "").partition("SageMaker.")[2]
            if service == "sagemaker" and operation:
                return self._control_plane(region, operation, request)
            url = self._backend.s3_url if service == "s3" else self._backend.url
            return forward(request, url)
        except Refusal as refusal:
            return refusal.as_rest() if is_rest else refusal.as_json()
        except DeployError as error:
            wrong = Refusal("ServiceUnavailable", error.message, 503)
        except Exception as error:
            self.logs.say(f"a bug: {error!r}")
            wrong = Refusal("InternalFailure", repr(error), 500)
        return wrong.as_rest() if is_rest else wrong.as_json()

    def _data_plane(
        self, region: str, name: str, what: str, request: Request
    ) -> Answer:
        if what == "invocations":
            return self.runtime.invoke(region, name, request)
        if what == "invocations-response-stream":
            return self.runtime.stream(region, name, request)
        if what == "async-invocations":
            return self.asynchronous.invoke(region, name, request)
        raise Refusal("UnknownOperationException", f"no such operation: {what}", 404)

    def _control_plane(self, region: str, operation: str, request: Request) -> Answer:
        body = request.body.read()
        asked = _object_in(body)
        self._check(region, operation, asked)
        if operation == "CreateTransformJob":
            answer = self.jobs.create(region, asked)
            # The backend knows its tags.
            self._drop(forward(request, self._backend.url, body))
            return json_answer(answer)
        answers = {
            "DescribeTransformJob": self.jobs.describe,
            "StopTransformJob": self.jobs.stop,
            "ListTransformJobs": self.jobs.list,
        }
        if operation in answers:
            return json_answer(answers[operation](region, asked))
        answer_of = forward(request, self._backend.url, body)
        if operation == "DescribeEndpoint" and answer_of.status == 200:
            return self._described(region, asked, answer_of)
        if operation.startswith(CHANGES):
            self._backend.forget()
            if operation.endswith("Endpoint") and answer_of.status == 200:
                self._changed(region, operation, asked["EndpointName"])
        return answer_of

    def _check(self, region: str, operation: str, asked: dict[str, Any]) -> None:
        """Raise Refusal for values that SageMaker's own model of a request excludes.

        The backend takes any instance type, and SageMaker only those that it has.
        """
        if operation not in CHECKED:
            return
        found = self._backend.violations(
            region, CHECKED[operation], asked, service="sagemaker"
        )
        if found:
            raise Refusal(
                "ValidationException",
                f"{len(found)} validation errors detected: " + "; ".join(found),
            )

    @staticmethod
    def _drop(answer: Answer) -> None:
        for _ in answer.body:
            pass

    # Endpoints

    def served(self, region: str, name: str) -> Served:
        """An endpoint with its container; raises Refusal where there is none."""
        hosted = self._backend.hosted(region, name)
        if hosted is None:
            raise Refusal("ValidationError", f"Endpoint {name} not found in {region}.")
        served = Served(hosted, self._container(hosted), self._stream(hosted))
        if hosted.asynchronous is not None:
            self.asynchronous.know(served)
        return served

    def _container(self, hosted: Hosted) -> Container:
        return self.fleet.container(
            (hosted.region, hosted.name),
            (hosted.config, hosted.created, tuple(sorted(hosted.environment.items()))),
            region=hosted.region,
            stream=self._stream(hosted),
            environment=hosted.environment,
            startup_seconds=hosted.startup_seconds,
            variant=hosted.variant,
        )

    def _stream(self, hosted: Hosted) -> Stream:
        instance = self._instance(f"{hosted.region}/{hosted.name}")
        return Stream(
            hosted.region, ENDPOINT_GROUP + hosted.name, f"{hosted.variant}/{instance}"
        )

    def _instance(self, owner: str) -> str:
        """What AWS would call the machine."""
        with self._lock:
            return self._instances.setdefault(owner, f"i-{uuid.uuid4().hex[:17]}")

    def _described(
        self, region: str, asked: Mapping[str, Any], answer: Answer
    ) -> Answer:
        """In service once the container has been healthy, as SageMaker says it."""
        described = json.loads(b"".join(answer.body))  # type: ignore[arg-type]
        name = asked["EndpointName"]
        try:
            self.served(region, name)
        except (Refusal, DeployError, ValueError):
            return json_answer(described)
        if described.get("EndpointStatus") == "InService":
            status, failure = self.fleet.status((region, name))
            described["EndpointStatus"] = status
            if failure is not None:
                described["FailureReason"] = failure
        return json_answer(described)

    def _changed(self, region: str, operation: str, name: str) -> None:
        """SageMaker starts a container with the endpoint, not with its first use."""
        if operation.startswith("Delete"):
            self.asynchronous.forget(region, name)
            self.fleet.remove((region, name), is_awaited=False)
            return
        try:
            self.served(region, name)
        except (Refusal, DeployError, ValueError) as error:
            self.logs.say(f"{name} | {error}")

    def _make(
        self,
        owner: tuple[str, str],
        *,
        region: str,
        stream: Stream,
        environment: Mapping[str, str],
        startup_seconds: float | None = None,
        variant: str = "AllTraffic",
    ) -> Container:
        program = self._server
        if isinstance(program, str):
            return Remote(program, self._limits)

        def start(port: int) -> Process:
            assert isinstance(program, ServerProgram)
            environ = environment_for(
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
                line=lambda text: self.logs.write(stream, text),
            )

        return Own(
            start,
            lambda text: self.logs.say(f"{owner[1]} | {text}"),
            limits=self._limits,
            assumed=self._assumed,
            startup_seconds=startup_seconds,
            variant=variant,
        )

    # Transform jobs

    def _run(self, job: TransformJob) -> None:
        owner = (job.region, f"transform job {job.name}")
        failure: str | None = "InternalServerError: We encountered an internal error."
        try:
            instance = self._instance("/".join(owner))
            stream = Stream(job.region, TRANSFORM_GROUP, f"{job.name}/{instance}")
            model = self._backend.model(job.region, job.request["ModelName"])
            container = self.fleet.container(
                owner,
                job.name,
                region=job.region,
                stream=stream,
                environment={**environment_of(model), **batch_environment(job.request)},
            )
            batch = Batch(
                job,
                container,
                stream,
                backend=self._backend,
                logs=self.logs,
                limits=self._limits,
                assumed=self._assumed,
            )
            failure = batch.run()
        except Exception as error:
            self.logs.say(f"{job.name} | {error!r}")
        finally:
            self.fleet.remove(owner)
            job.end(failure)
            self.logs.say(f"{job.name} | {job.status}: {job.failure or 'all done'}")


def _object_in(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a request; raises Refusal where there is none."""
    try:
        asked = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise Refusal("SerializationException", "the body is not a JSON object")
    return asked
