"""Number of our own frames between the command line and a call of boto3.

Print the table with `pytest -s tests/deploy/test_call_depth.py`.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import pytest
from botocore.client import BaseClient

import deploy
from deploy.commands.index import names
from deploy.image.manifest import to_docker_manifest
from deploy.weights.multipart import MIN_PART_BYTES
from deploy.weights.store import Store
from tests.deploy.batch.transformer import TRANSFORM_CONFIG, create_batch_resources
from tests.deploy.conftest import interrupt
from tests.deploy.contents import beginning
from tests.deploy.frames import stream_of
from tests.deploy.images import OCI, oci_manifest, publish, put_image, write_archive
from tests.deploy.invoke.answers import DOCUMENT, END, PAGE, to_ndjson
from tests.deploy.monitoring.test_logs import write_logs
from tests.deploy.queue.configs import QUEUE_CONFIG
from tests.deploy.queue.queued import BROKEN, CONFIG_TEMPLATE, FakeQueue, put_object

MAX_FRAMES = 6
SOURCES = str(Path(deploy.__file__).parent)


@dataclass
class CallDepths:
    """Functions of deploy/ on the stack of each call of boto3, `cli.main` first."""

    stacks: list[tuple[str, list[str]]] = field(default_factory=list)

    def record(self, operation: str, frame: FrameType | None) -> None:
        """Add the stack above `frame` as that of a call."""
        names = []
        while frame is not None:
            name = frame.f_code.co_name
            # Python 3.12 runs comprehensions in the frame of their function.
            is_counted = not name.endswith("comp>")
            if is_counted and frame.f_code.co_filename.startswith(SOURCES):
                place = Path(frame.f_code.co_filename).relative_to(SOURCES)
                names.append(f"{place.with_suffix('')}:{name}")
            frame = frame.f_back
        self.stacks.append((operation, names[::-1]))

    @property
    def depths(self) -> list[int]:
        return [len(names) for _, names in self.stacks]

    def summary(self, command: str) -> str:
        depths = self.depths
        return (
            f"{command:42} {len(depths):3} calls, frames: typical "
            f"{statistics.median(depths):g}, most {max(depths)}"
        )

    def find_deep_stacks(self) -> list[str]:
        return sorted(
            {
                f"{len(names)} {operation}: {' > '.join(names)}"
                for operation, names in self.stacks
                if len(names) > MAX_FRAMES
            }
        )


@pytest.fixture
def call_depths(monkeypatch):
    """Return a context manager that records the stacks of calls in its block."""
    make_api_call = BaseClient._make_api_call

    @contextmanager
    def measure() -> Iterator[CallDepths]:
        depths = CallDepths()

        def record(client, operation, params):
            depths.record(operation, sys._getframe(1))
            return make_api_call(client, operation, params)

        with monkeypatch.context() as patch:
            patch.setattr(BaseClient, "_make_api_call", record)
            yield depths

    return measure


@pytest.fixture
def measure_command(chandra, call_depths, wire):
    """Return a function that runs a command and returns its stacks that are too long.

    It prints the table's line of the command.
    """

    def run(name: str, *arguments: str) -> list[str]:
        # The client is shared by all tests, and asks for its identity once.
        wire.forget_identity()
        with call_depths() as measured:
            ran = chandra(*arguments)
        assert ran.status == 0, ran.err
        deep_stacks: list[str] = measured.find_deep_stacks()
        sys.stdout.write("\n" + "\n".join([measured.summary(name), *deep_stacks]))
        return deep_stacks

    return run


Case = tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]
UPDATE = ("update", "--instance-type", "ml.g5.2xlarge")
ROLES = ("iam", "--create")
ALARMS = ("alarms", "--create")
SCHEDULE = ("schedule", "--start", "08:00", "--stop", "19:00")
COMMANDS: dict[str, Case] = {
    "iam": ((), ("iam",)),
    "iam --create": ((), ROLES),
    "iam --create, again": ((ROLES,), ROLES),
    "deploy": ((), ("deploy",)),
    "deploy --dry-run": ((), ("deploy", "--dry-run")),
    "deploy, no changes": ((("deploy",),), ("deploy",)),
    "deploy, reverts an update": ((("deploy",), UPDATE), ("deploy",)),
    "deploy, with alarms": ((("deploy",), ALARMS), ("deploy",)),
    "update": ((("deploy",),), UPDATE),
    "update, with alarms": ((("deploy",), ALARMS), UPDATE),
    "update --strategy recreate": (
        (("deploy",),),
        (*UPDATE, "--strategy", "recreate"),
    ),
    "rollback": ((("deploy",), UPDATE), ("rollback",)),
    "rollback, with alarms": ((("deploy",), UPDATE, ALARMS), ("rollback",)),
    "stop": ((("deploy",),), ("stop",)),
    "start": ((("deploy",), ("stop",)), ("start",)),
    "status": ((("deploy",),), ("status",)),
    "status, stopped": ((ROLES, ("deploy",), SCHEDULE, ("stop",)), ("status",)),
    "list": ((("deploy",),), ("list",)),
    "logs": ((("deploy",),), ("logs",)),
    "metrics": ((("deploy",),), ("metrics",)),
    "alarms": ((("deploy",), ALARMS), ("alarms",)),
    "alarms --create": ((("deploy",),), ALARMS),
    "alarms --create, again": ((("deploy",), ALARMS), ALARMS),
    "dashboard": ((("deploy",), ("dashboard", "--create")), ("dashboard",)),
    "dashboard --create": ((("deploy",),), ("dashboard", "--create")),
    "schedule": ((ROLES, ("deploy",), SCHEDULE), ("schedule",)),
    "schedule --start --stop": ((ROLES, ("deploy",)), SCHEDULE),
    "schedule --start --stop, again": ((ROLES, ("deploy",), SCHEDULE), SCHEDULE),
    "schedule --remove": ((ROLES, ("deploy",), SCHEDULE), ("schedule", "--remove")),
    "deploy, with a schedule": ((ROLES, ("deploy",), SCHEDULE, UPDATE), ("deploy",)),
    "stop, with a schedule": ((ROLES, ("deploy",), SCHEDULE), ("stop",)),
    "plan": ((), ("plan",)),
    "doctor": ((("iam", "--create"), ("deploy",)), ("doctor",)),
    "destroy": ((("deploy",),), ("destroy",)),
    "destroy, with all": (
        (ROLES, ("deploy",), ALARMS, ("dashboard", "--create"), SCHEDULE),
        ("destroy",),
    ),
    "destroy --all": ((("iam", "--create"), ("deploy",)), ("destroy", "--all")),
    "destroy --all, with all": (
        (ROLES, ("deploy",), ALARMS, ("dashboard", "--create"), SCHEDULE),
        ("destroy", "--all"),
    ),
}
"""Commands by name: what is run before them, and their arguments."""


@pytest.mark.usefixtures("staged")
@pytest.mark.parametrize("command", COMMANDS)
def test_few_frames_lie_between_command_and_aws(chandra, measure_command, at, command):
    before, arguments = COMMANDS[command]
    for earlier in before:
        ran = chandra(*earlier)
        assert ran.status == 0, ran.err
        at.now += 60

    assert measure_command(command, *arguments) == []


@pytest.mark.usefixtures("staged")
def test_few_frames_lie_between_logs_and_aws(measure_command, wire, at):
    write_logs(wire, at, one=[(30, "first")])

    assert measure_command("logs, with lines", "logs") == []


STAGE = ("model", "stage", "--revision", "0123abc")
STAGE_FOLDER = (*STAGE, "--from", "FOLDER")
MODELS: dict[str, Case] = {
    "model stage": ((), STAGE),
    "model stage --tar": ((), (*STAGE, "--tar")),
    "model stage --tar, again": (((*STAGE, "--tar"),), (*STAGE, "--tar")),
    "model stage --tar --dry-run": (
        ((*STAGE, "--tar"),),
        (*STAGE, "--tar", "--dry-run"),
    ),
    "model stage --from": ((), STAGE_FOLDER),
    "model stage --from --tar --dry-run": (
        (STAGE_FOLDER,),
        (*STAGE_FOLDER, "--tar", "--dry-run"),
    ),
    "doctor --weights": ((STAGE,), ("doctor", "--weights")),
}


@pytest.fixture
def large_model(hub, wire, monkeypatch):
    """Return the largest file of a model that is uploaded in several parts."""
    assert Store.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(Store.__init__.__kwdefaults__, "part_bytes", MIN_PART_BYTES)
    path = hub.folder / "model.safetensors"
    # The tar has several parts too, because random bytes do not become smaller.
    path.write_bytes(random.Random(0).randbytes(2 * MIN_PART_BYTES))
    wire.call("s3", "create_bucket", Bucket="weights")
    return path


@pytest.mark.parametrize("command", MODELS)
def test_few_frames_lie_between_model_and_aws(
    chandra, measure_command, large_model, command
):
    def fill_in(words):
        folder = str(large_model.parent)
        return [folder if word == "FOLDER" else word for word in words]

    before, arguments = MODELS[command]
    for earlier in before:
        assert chandra(*fill_in(earlier)).status == 0

    assert measure_command(command, *fill_in(arguments)) == []


@pytest.mark.parametrize("is_changed", [False, True])
def test_few_frames_lie_between_continued_upload_and_aws(
    chandra, measure_command, large_model, intercept, is_changed
):
    interrupts = iter([interrupt])

    def interrupt_once(params):
        if params["PartNumber"] == 2:
            next(interrupts, lambda: None)()

    intercept("s3", "UploadPart", interrupt_once)
    assert chandra(*STAGE).status == 130
    if is_changed:
        large_model.write_bytes(large_model.read_bytes()[::-1])

    assert measure_command("model stage, continued", *STAGE) == []


IMAGES: dict[str, Case] = {
    "image push": ((), ("image", "push", "--tag", "v1")),
    "image push, again": (
        (("image", "push", "--tag", "v1"),),
        ("image", "push", "--tag", "v1"),
    ),
    "image push --dry-run": ((), ("image", "push", "--tag", "v1", "--dry-run")),
    "image push --remote": (
        (ROLES,),
        ("image", "push", "--tag", "v1", "--remote"),
    ),
    "image push --archive": (
        (),
        ("image", "push", "--tag", "v1", "--archive", "ARCHIVE"),
    ),
    "image check": (
        (("image", "push", "--tag", "v1"),),
        ("image", "check", "--tag", "v1"),
    ),
    "image check --fix": ((), ("image", "check", "--tag", "oci", "--fix")),
}


@pytest.mark.parametrize("command", IMAGES)
def test_few_frames_lie_between_image_and_aws(
    chandra, measure_command, wire, runner, intercept, project, tmp_path, command
):
    path = project()
    path.write_text(
        path.read_text().replace(
            "[image]\n",
            f'[image]\ncontext = "{tmp_path}"\ndockerfile = "{tmp_path}/Dockerfile"\n',
        )
    )
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    wire.call("s3", "create_bucket", Bucket="weights")
    publish(wire)
    put_image(wire, oci_manifest(), "oci", OCI)

    def push(_):
        # Another thread, because the engine's calls are none of the command.
        with ThreadPoolExecutor() as threads:
            manifest = to_docker_manifest(oci_manifest())
            threads.submit(put_image, wire, manifest, "v1").result()

    runner.on_run = lambda words: push(words) if "build" in words else None
    intercept("codebuild", "StartBuild", push)
    archive = str(write_archive(tmp_path / "image.tar"))
    before, arguments = IMAGES[command]
    for earlier in before:
        assert chandra(*earlier).status == 0
    words = [archive if word == "ARCHIVE" else word for word in arguments]

    assert measure_command(command, *words) == []


DEPLOY_QUEUE = ("async", "deploy")
UPDATE_QUEUE = (*DEPLOY_QUEUE, "--instance-type", "ml.g5.2xlarge")
STOP_QUEUE = ("stop", "--async")
QUEUES: dict[str, Case] = {
    "async deploy": ((), DEPLOY_QUEUE),
    "async deploy, no changes": ((DEPLOY_QUEUE,), DEPLOY_QUEUE),
    "async deploy, changed": ((DEPLOY_QUEUE,), UPDATE_QUEUE),
    "rollback --async": ((DEPLOY_QUEUE, UPDATE_QUEUE), ("rollback", "--async")),
    "status, with a queue": ((DEPLOY_QUEUE,), ("status",)),
    "list, with a queue": ((DEPLOY_QUEUE,), ("list",)),
    "logs --async": ((DEPLOY_QUEUE,), ("logs", "--async")),
    "metrics --async": ((DEPLOY_QUEUE,), ("metrics", "--async")),
    "alarms --async --create": ((DEPLOY_QUEUE,), (*ALARMS, "--async")),
    "dashboard --async --create": (
        (DEPLOY_QUEUE,),
        ("dashboard", "--async", "--create"),
    ),
    "stop --async": ((DEPLOY_QUEUE,), STOP_QUEUE),
    "start --async": ((DEPLOY_QUEUE, STOP_QUEUE), ("start", "--async")),
    "destroy, with a queue": ((DEPLOY_QUEUE,), ("destroy",)),
    "destroy --all, with a queue": (
        (ROLES, DEPLOY_QUEUE, (*ALARMS, "--async")),
        ("destroy", "--all"),
    ),
}


@pytest.mark.usefixtures("staged")
@pytest.mark.parametrize("command", QUEUES)
def test_few_frames_lie_between_queue_and_aws(
    chandra, measure_command, wire, project, at, command
):
    wire.call("s3", "create_bucket", Bucket="exchange")
    project(QUEUE_CONFIG)
    before, arguments = QUEUES[command]
    for earlier in before:
        ran = chandra(*earlier)
        assert ran.status == 0, ran.err
        at.now += 60

    assert measure_command(command, *arguments) == []


SUBMIT = ("async", "submit", "s3://scans/2026")
FETCH = ("async", "fetch", "--into", "s3://exchange/results")
RETRY = ("async", "submit", "--retry-all")
DOCUMENTS: dict[str, Case] = {
    "async submit FILE": ((), ("async", "submit", "FILE")),
    "async submit s3://": ((), SUBMIT),
    "async submit s3://, again": ((SUBMIT,), SUBMIT),
    "async submit MANIFEST": ((), ("async", "submit", "s3://scans/all.jsonl")),
    "async submit --retry-all": ((SUBMIT, ("async", "fetch")), RETRY),
    "async submit --dry-run": ((), (*SUBMIT, "--dry-run")),
    "async wait": ((SUBMIT,), ("async", "wait")),
    "async wait s3://": ((SUBMIT,), ("async", "wait", "s3://scans/2026")),
    "async wait MANIFEST": (
        (("async", "submit", "s3://scans/all.jsonl"),),
        ("async", "wait", "s3://scans/all.jsonl"),
    ),
    "async fetch": ((SUBMIT,), ("async", "fetch")),
    "async fetch --into s3://": ((SUBMIT,), FETCH),
    "async fetch --into s3://, again": ((SUBMIT, FETCH), FETCH),
}


@pytest.mark.parametrize("ledger", ["file", "s3://exchange/ledger"])
@pytest.mark.parametrize("command", DOCUMENTS)
def test_few_frames_lie_between_documents_and_aws(
    chandra, measure_command, cloud, wire, project, at, tmp_path, command, ledger
):
    before, arguments = DOCUMENTS[command]
    for bucket in ("exchange", "scans"):
        wire.call("s3", "create_bucket", Bucket=bucket)
    project(CONFIG_TEMPLATE.format(isolation="true"))
    cloud.invoked = FakeQueue(wire)
    put_object(wire, "scans", "2026/a.pdf", b"first")
    put_object(wire, "scans", "2026/b.pdf", BROKEN if arguments == RETRY else b"second")
    wire.call(
        "s3",
        "put_object",
        Bucket="scans",
        Key="all.jsonl",
        Body=b'{"document": "s3://scans/2026/a.pdf"}',
    )
    (tmp_path / "a.pdf").write_bytes(beginning("a.pdf") + b"local")
    where = () if ledger == "file" else ("--ledger", ledger)
    for earlier in before:
        chandra(*earlier, *where)
        cloud.invoked.process_waiting()
    path = str(tmp_path / "a.pdf")
    words = [path if word == "FILE" else word for word in arguments]

    assert measure_command(command, *words, *where) == []


def test_few_frames_lie_between_invoke_and_aws(measure_command, cloud, tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(beginning("a.pdf"))
    cloud.invoked = lambda environ, body: (
        "200 OK",
        [],
        json.dumps(DOCUMENT | {"pages": [PAGE]}).encode(),
    )

    assert measure_command("invoke", "invoke", str(path)) == []


def test_few_frames_lie_between_stream_and_aws(measure_command, cloud, tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(beginning("a.pdf"))
    content = stream_of([to_ndjson({"event": "page", **PAGE}, END)])
    headers = [("Content-Type", "application/vnd.amazon.eventstream")]
    cloud.invoked = lambda environ, body: ("200 OK", headers, content)

    assert measure_command("invoke --stream", "invoke", str(path), "--stream") == []


START = ("start", "s3://inbox/scans/", "s3://results/md")
TRANSFORMS: dict[str, Case] = {
    "transform start": ((), START),
    "transform start --dry-run": ((), (*START, "--dry-run")),
    "transform start, with results": ((START,), START),
    "transform wait": (((*START, "--no-wait"),), ("wait", "JOB")),
    "transform retry": ((START,), ("retry", "JOB")),
    "transform status": ((START,), ("status", "JOB")),
    "transform fetch": ((START,), ("fetch", "JOB", "--into", "s3://results/named/")),
    "transform status, all jobs": ((START,), ("status",)),
    "transform stop": (((*START, "--no-wait"),), ("stop", "JOB")),
}


@pytest.mark.parametrize("command", TRANSFORMS)
def test_few_frames_lie_between_transform_and_aws(
    chandra, measure_command, cloud, wire, project, at, command
):
    project(TRANSFORM_CONFIG)
    put = create_batch_resources(cloud, wire, at.now)
    put("scans/a.pdf")
    put("scans/b.pdf", b"partly")
    before, arguments = TRANSFORMS[command]
    for earlier in before:
        assert chandra("transform", *earlier).status == 0
    put("scans/c.pdf")
    words = [next(iter(cloud.jobs)) if word == "JOB" else word for word in arguments]

    assert measure_command(command, "transform", *words) == []


WITHOUT_CALLS = {"init", "cost", "local", "completion"}


def test_every_command_that_calls_aws_is_measured():
    tables = (COMMANDS, MODELS, IMAGES, QUEUES, DOCUMENTS)
    measured = [arguments for table in tables for _, arguments in table.values()]
    measured += [("transform", *arguments) for _, arguments in TRANSFORMS.values()]
    measured.append(("invoke",))

    missing = [
        words
        for words in names()
        if words[0] not in WITHOUT_CALLS
        and all(arguments[: len(words)] != words for arguments in measured)
    ]

    assert missing == []
