"""Fixtures of an AWS that is scripted or served by moto, and never real."""

from __future__ import annotations

import io
import json
import os
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto.cloudwatch.models import Statistics
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    create_backend_app,
)
from werkzeug.serving import WSGIRequestHandler, make_server

from deploy.aws import AWSClient
from deploy.cli import main
from deploy.console import Console
from deploy.emulator.account import get_statistic
from deploy.emulator.http.front import Listener
from deploy.plan.actions import Call
from deploy.resources import Identity
from deploy.weights.files import read_weights
from deploy.weights.hub import HubFile, HubModel
from deploy.weights.store import Store
from tests.deploy.accounts import IDENTITY, IMAGE, OTHER_IMAGE
from tests.deploy.images import publish
from tests.deploy.shim import Shim


@pytest.fixture(autouse=True)
def _without_real_credentials(monkeypatch, tmp_path):
    """Remove credentials and set a dead endpoint: no test reaches an account."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")


SECRET = "hidden-secret-key"


def create_test_session(region: str = "us-east-1") -> boto3.Session:
    return boto3.Session(
        aws_access_key_id="testing",
        aws_secret_access_key=SECRET,
        region_name=region,
    )


class Script:
    """Expected calls of one service in order, with the responses of AWS.

    Leaving its `with` block asserts that all calls were made.
    """

    def __init__(self, client: Any) -> None:
        self._stubber = Stubber(client)
        self._expected: tuple[str, dict[str, Any]] | None = None

    def expects(self, operation: str, **params: Any) -> Script:
        self._expected = (operation, params)
        return self

    def answers(self, **response: Any) -> None:
        assert self._expected is not None
        operation, params = self._expected
        self._stubber.add_response(operation, response, params or None)

    def refuses(self, code: str, message: str = "") -> None:
        assert self._expected is not None
        operation, params = self._expected
        self._stubber.add_client_error(
            operation, code, message, expected_params=params or None
        )

    def __enter__(self) -> Script:
        self._stubber.activate()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._stubber.assert_no_pending_responses()
        self._stubber.deactivate()


@pytest.fixture(scope="session")
def aws() -> AWSClient:
    """Client for all tests, because boto3 is slow to make one."""
    return AWSClient(create_test_session())


class IdentifiedClient(AWSClient):
    """Client that knows its identity without a call."""

    def identity(self) -> Identity:
        return IDENTITY


@pytest.fixture(scope="session")
def identified_aws() -> AWSClient:
    """Client for all tests that knows its identity without a call."""
    return IdentifiedClient(create_test_session())


@pytest.fixture
def script(aws):
    """Return a function: script("sagemaker").expects("operation", ...).answers(...)."""
    return lambda service: Script(aws.client(service))


@pytest.fixture(scope="session")
def service_model(aws):
    """Return a function that returns botocore's model of a service."""
    return lambda service: aws.client(service).meta.service_model


@pytest.fixture(scope="session")
def refusals(aws):
    """Return a function that returns why AWS would reject a call; empty if valid."""
    return aws.violations


class CheckedClient(AWSClient):
    """Client that fails on requests that AWS would reject, though moto accepts them."""

    def call(self, service: str, operation: str, **params: Any) -> dict[str, Any]:
        assert self.violations(Call(service, operation, params, "")) == []
        return super().call(service, operation, **params)

    def forget_identity(self) -> None:
        """Let the next command ask STS for the caller's identity again."""
        self._identity = None


class SilentRequestHandler(WSGIRequestHandler):
    """Request handler without log lines."""

    def log_request(self, *_: object) -> None:
        pass


class Front:
    """WSGI application of the moto server; each test replaces its shim."""

    def __init__(self) -> None:
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.shim = Shim(self.moto)

    def __call__(self, environ: Any, start: Any) -> Any:
        return self.shim(environ, start)


@pytest.fixture(scope="session")
def front():
    """Run moto on a loopback port for all tests; yield its address and application."""
    application = Front()
    patch = pytest.MonkeyPatch()
    patch.setattr(Statistics, "get_statistics_for_type", get_statistic)
    listener = Listener(
        make_server(
            "127.0.0.1",
            0,
            application,
            threaded=True,
            request_handler=SilentRequestHandler,
        )
    )
    listener.start()
    yield listener.address, application
    listener.close()
    patch.undo()


@pytest.fixture(scope="session")
def wire(front):
    """Client of the moto server for all tests, because boto3 is slow to make one."""
    return CheckedClient(create_test_session(), endpoint_url=front[0])


@pytest.fixture
def intercept(wire):
    """Register a function that sees calls to AWS, by boto3's own events.

    `intercept(service, operation, function)` calls the function with the parameters of
    every such request before it is sent; `after=True` with the response instead. What
    the function raises ends the call.
    """
    registered = []

    def register(
        service: str,
        operation: str,
        function: Callable[[Any], object],
        *,
        after: bool = False,
        is_streaming: bool = False,
    ) -> None:
        def handle(**event: Any) -> None:
            function(event["parsed" if after else "params"])

        meta = wire.client(service, is_streaming=is_streaming).meta
        moment = "after-call" if after else "before-parameter-build"
        service_id = meta.service_model.service_id.hyphenize()
        name = f"{moment}.{service_id}.{operation}"
        meta.events.register(name, handle)
        registered.append((meta.events, name, handle))

    yield register
    for events, name, handle in registered:
        events.unregister(name, handle)


def interrupt(*_: object) -> None:
    """Raise KeyboardInterrupt, as Ctrl-C does."""
    raise KeyboardInterrupt


@pytest.fixture
def cloud(front):
    """Reset moto to an empty account; return the new shim in front of it."""
    address, application = front
    application.shim = Shim(application.moto)
    urllib.request.urlopen(f"{address}/moto-api/reset", data=b"").close()
    application.shim.calls.clear()
    return application.shim


class Time:
    """Clock that only `sleep` and assignments to `now` advance."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Ran:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def at() -> Time:
    """Return the clock of the commands that `chandra` runs."""
    return Time()


@pytest.fixture
def project(tmp_path: Path):
    """Write chandra.toml; return a function that writes it again with more settings."""
    path = tmp_path / "chandra.toml"

    def write(extra: str = "", *, name: str = "ocr", image: str = IMAGE) -> Path:
        path.write_text(
            f'name = "{name}"\nregion = "us-east-1"\n'
            f'[image]\nuri = "{image}"\n'
            '[model]\nbucket = "weights"\nrevision = "0123abc"\n' + extra
        )
        return path

    write()
    return write


class Terminal(io.StringIO):
    """Standard input that is a terminal with typed answers."""

    def isatty(self) -> bool:
        return True


class FakeRunner:
    """Runner of docker and git that records commands and runs none."""

    def __init__(self) -> None:
        self.programs = {"docker", "git"}
        self.outputs = {"rev-parse": "0123456789ab\n", "diff": "", "ls-files": ""}
        self.failing: set[str] = set()
        """Words; commands that contain one of them fail."""
        self.ran: list[list[str]] = []
        self.secrets: list[str | None] = []
        self.on_run: Callable[[list[str]], None] = lambda command: None

    def find(self, program: str) -> bool:
        return program in self.programs

    def capture(self, command: Sequence[str]) -> str | None:
        if command[0] not in self.programs or self.failing.intersection(command):
            return None
        return next((o for word, o in self.outputs.items() if word in command), "ok")

    def run(self, command: Sequence[str], *, secret: str | None = None) -> None:
        self.ran.append(list(command))
        self.secrets.append(secret)
        self.on_run(list(command))


@pytest.fixture
def runner() -> FakeRunner:
    return FakeRunner()


class FakeHub:
    """Hugging Face Hub whose models all have the files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fetched: list[str] = []
        """Models that were downloaded."""
        self.on_fetch: Callable[[], None] = lambda: None

    def inspect(self, model: str, revision: str | None) -> HubModel:
        files = [
            HubFile(path.name, path.stat().st_size, is_here=model in self.fetched)
            for path in sorted(self.folder.iterdir())
        ]
        return HubModel(
            revision or "c0ffee", tuple(files), Path("~/.cache/huggingface/hub")
        )

    def fetch(self, model: str, revision: str | None) -> tuple[Path, str]:
        self.on_fetch()
        self.fetched.append(model)
        return self.folder, revision or "c0ffee"


@pytest.fixture
def hub(tmp_path):
    """Hugging Face Hub whose models have a config.json and one file of weights."""
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen3_vl"}')
    (folder / "model.safetensors").write_bytes(b"weights")
    return FakeHub(folder)


@pytest.fixture
def staged(cloud, wire, hub):
    """Stage weights and push images in the account; forget the calls for it."""
    stage(wire, hub)
    publish(wire, IMAGE, OTHER_IMAGE)
    cloud.calls.clear()


def stage(aws, hub):
    """Stage the weights in the bucket that the project's chandra.toml names."""
    aws.call("s3", "create_bucket", Bucket="weights")
    Store(aws, "weights").stage(
        read_weights(hub.folder, "datalab-to/chandra", "0123abc"),
        "models/datalab-to/chandra/0123abc/",
        "ocr",
        lambda *_: None,
    )


@pytest.fixture
def chandra(cloud, wire, project, tmp_path, at, runner, hub):
    """Return a function that runs a command: chandra("deploy", "--no-wait")."""

    def run(
        *arguments: str, yes: bool = True, sleep: Any = None, typed: str | None = None
    ) -> Ran:
        """Run a command; `typed` is what the user types at a terminal."""
        out, err = io.StringIO(), io.StringIO()
        console = Console(
            as_json="--json" in arguments,
            assume_yes=yes and typed is None,
            out=out,
            err=err,
            answers=io.StringIO() if typed is None else Terminal(typed),
        )
        status = main(
            [*arguments, "--config", str(tmp_path / "chandra.toml")],
            console=console,
            connect=lambda region=None, **_: wire.in_region(region or "us-east-1"),
            clock=at,
            sleep=sleep or at.sleep,
            runner=runner,
            hub=hub,
        )
        return Ran(status, out.getvalue(), err.getvalue())

    return run
