"""Submitters killed with SIGKILL continue where they stopped.

The real command runs as a process against moto over HTTP. It is killed after a number
of requests have arrived, while others are in flight.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from deploy.concurrency import NUM_SUBMISSIONS
from tests.deploy.contents import PDF
from tests.deploy.queue.queued import BROKEN, FakeQueue
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]
NUM_DOCUMENTS = 30
NUM_KILLS = 3


@pytest.fixture
def queue(cloud, wire, project):
    wire.call("s3", "create_bucket", Bucket="exchange")
    project('[asynchronous]\nbucket = "exchange"\n')
    cloud.invoked = FakeQueue(wire)
    return cloud.invoked


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "scans"
    root.mkdir()
    for number in range(NUM_DOCUMENTS):
        content = BROKEN if number == 7 else f"document {number}".encode()
        (root / f"{number:03}.pdf").write_bytes(PDF + content)
    return root


@pytest.fixture
def submitter(front, folder, tmp_path):
    """Return a function that starts the command; its processes end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(where):
        started.append(
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "deploy", "async", "submit", str(folder)),
                    *("--config", str(tmp_path / "chandra.toml")),
                    *("--endpoint-url", front[0], "--ledger", where),
                ],
                cwd=ROOT,
                env={
                    **os.environ,
                    "AWS_ACCESS_KEY_ID": "testing",
                    "AWS_SECRET_ACCESS_KEY": "testing",
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("ledger_kind", ["file", "s3"])
def test_repeated_kills_read_each_document_once(
    chandra, queue, folder, submitter, tmp_path, ledger_kind
):

    def has_sent(number, process):
        return len(queue.accepted) >= number or process.poll() is not None

    ledger = (
        str(tmp_path / "ledger.db") if ledger_kind == "file" else "s3://exchange/ledger"
    )
    chance = random.Random(7)
    for _ in range(NUM_KILLS):
        process = submitter(ledger)
        num_requests = len(queue.accepted) + chance.randrange(1, 6)
        until(lambda: has_sent(num_requests, process), timeout_seconds=120)  # noqa: B023
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL

    last = submitter(ledger)
    output, _ = last.communicate(timeout=240)
    queue.process_waiting()
    fetch_result = chandra("async", "fetch", "--ledger", ledger)

    assert last.returncode == 0, output.decode()
    sent = Counter(queued.output for queued in queue.accepted)
    assert len(sent) == NUM_DOCUMENTS
    # What was under way when it was killed may be sent again, to the same place.
    assert sent.total() - len(sent) <= NUM_KILLS * NUM_SUBMISSIONS
    assert fetch_result.status == 1
    results = {p.name: p.read_text() for p in folder.glob("*.md")}
    assert results == {
        f"{number:03}.pdf.md": f"# document {number}\n"
        for number in range(NUM_DOCUMENTS)
        if number != 7
    }
    assert [p.name for p in folder.glob("*.error.json")] == ["007.pdf.error.json"]


WRITER = """
import sys
from pathlib import Path
from deploy.queue.fetch import FileStore
content = bytes(200_000_000)
print("writing", flush=True)
FileStore().write(sys.argv[1], content, replacing=False)
"""


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="this system has none")
def test_killed_fetch_leaves_no_partial_file(tmp_path):
    folder = tmp_path / "results"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder / "a.pdf.md")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        until(folder.is_dir)
        process.kill()

    assert process.returncode == -signal.SIGKILL
    assert list(folder.iterdir()) == []
