"""Number of our own frames between the command line and a call of boto3.

Print the table with `pytest -s tests/deploy/test_call_depth.py`.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import pytest
from botocore.client import BaseClient

import deploy
from tests.deploy.batch.transformer import TRANSFORM_CONFIG, create_batch_resources
from tests.deploy.contents import beginning
from tests.deploy.queue.queued import FakeQueue

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


Case = tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]
UPDATE = ("update", "--instance-type", "ml.g5.2xlarge")
COMMANDS: dict[str, Case] = {
    "deploy": ((), ("deploy",)),
    "deploy --dry-run": ((), ("deploy", "--dry-run")),
    "deploy, no changes": ((("deploy",),), ("deploy",)),
    "deploy, reverts an update": ((("deploy",), UPDATE), ("deploy",)),
    "update": ((("deploy",),), UPDATE),
    "rollback": ((("deploy",), UPDATE), ("rollback",)),
    "stop": ((("deploy",),), ("stop",)),
    "start": ((("deploy",), ("stop",)), ("start",)),
    "status": ((("deploy",),), ("status",)),
    "list": ((("deploy",),), ("list",)),
    "logs": ((("deploy",),), ("logs",)),
    "alarms --create": ((("deploy",),), ("alarms", "--create")),
    "plan": ((), ("plan",)),
    "doctor": ((("iam", "--create"), ("deploy",)), ("doctor",)),
    "destroy": ((("deploy",),), ("destroy",)),
    "destroy --all": ((("iam", "--create"), ("deploy",)), ("destroy", "--all")),
}
"""Commands by name: what is run before them, and their arguments."""


@pytest.mark.usefixtures("staged")
@pytest.mark.parametrize("command", COMMANDS)
def test_few_frames_lie_between_command_and_aws(chandra, call_depths, at, command):
    before, arguments = COMMANDS[command]
    for earlier in before:
        assert chandra(*earlier).status == 0
        at.now += 60

    with call_depths() as measured:
        ran = chandra(*arguments)

    assert ran.status == 0, ran.err
    print_report(command, measured)
    assert measured.find_deep_stacks() == []


def test_few_frames_lie_between_submit_and_aws(
    chandra, call_depths, cloud, wire, project, tmp_path
):
    wire.call("s3", "create_bucket", Bucket="exchange")
    project('[network]\nisolation = true\n[asynchronous]\nbucket = "exchange"\n')
    cloud.invoked = FakeQueue(wire)
    (tmp_path / "a.pdf").write_bytes(beginning("a.pdf") + b"first")

    with call_depths() as measured:
        ran = chandra("async", "submit", str(tmp_path / "a.pdf"))

    assert ran.status == 0, ran.err
    print_report("async submit", measured)
    assert measured.find_deep_stacks() == []


START = ("start", "s3://inbox/scans/", "s3://results/md")
TRANSFORMS: dict[str, Case] = {
    "transform start": ((), START),
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
    chandra, call_depths, cloud, wire, project, at, command
):
    project(TRANSFORM_CONFIG)
    put = create_batch_resources(cloud, wire, at.now)
    put("scans/a.pdf")
    put("scans/b.pdf", b"partly")
    before, arguments = TRANSFORMS[command]
    for earlier in before:
        assert chandra("transform", *earlier).status == 0
    put("scans/c.pdf")
    names = [next(iter(cloud.jobs)) if word == "JOB" else word for word in arguments]

    with call_depths() as measured:
        ran = chandra("transform", *names)

    assert ran.status == 0, ran.err
    print_report(command, measured)
    assert measured.find_deep_stacks() == []


def print_report(command, measured):
    """Print the table's line of a command, and the stacks that are too long."""
    lines = [measured.summary(command), *measured.find_deep_stacks()]
    sys.stdout.write("\n" + "\n".join(lines))
