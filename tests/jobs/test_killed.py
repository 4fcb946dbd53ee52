"""Tests that a queue and batch jobs lose no document while processes are killed.

The tests compare results as Markdown, because JSON results contain times and request
ids.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

import pytest

from deploy.queue.job import State
from deploy.queue.ledger import SqliteLedger
from tests.jobs import folder
from tests.jobs.cloud import BUCKET, Cloud, run_cloud
from tests.jobs.kills import Kill, Killer, plan_kills
from tests.jobs.progress import ProgressLog
from tests.jobs.submitter import Command, Submitter
from tests.marks import needs_the_plugin

SEED_VARIABLE = "JOBS_SEED"
HOUR_SECONDS = 3600.0

pytestmark = needs_the_plugin


Results = dict[str, bytes]
"""Results by document name."""
Codes = dict[str, str]
"""Error codes by document name."""


class Documents:
    """Generated folder of documents, with their expected error codes."""

    def __init__(self, root: Path, num_documents: int, seed: int) -> None:
        self.root = root
        self.folder = root / "scans"
        self.codes = folder.fill_folder(self.folder, num_documents, seed)
        self.good = {name for name, code in self.codes.items() if code is None}
        self.broken: Codes = {name: code for name, code in self.codes.items() if code}


class ReadingMethod(Protocol):
    """Method to read a folder of documents."""

    def __init__(self, cloud: Cloud, documents: Documents, name: str) -> None: ...
    def run_round(self, command: Command) -> bool: ...
    def num_read(self) -> int: ...
    def check_final_state(self) -> None: ...
    def read_results(self) -> tuple[Results, Codes]: ...


class QueueReading:
    """Reading of a folder by the asynchronous endpoint."""

    def __init__(self, cloud: Cloud, documents: Documents, name: str) -> None:
        cloud.create_queue()
        # Otherwise results of an earlier reading would be reused.
        cloud.delete_objects("async/")
        self._cloud = cloud
        self._documents = documents
        self._ledger = str(documents.root / f"{name}.db")
        self._results = documents.root / name

    def run_round(self, command: Command) -> bool:
        ledger = ("--ledger", self._ledger)
        scans = str(self._documents.folder)
        # Request Markdown from the server, as batch jobs do.
        command(
            *("async", "submit", scans, "--format", "md", "--retry-failed"), *ledger
        )
        command("async", "wait", *ledger)
        command("async", "fetch", "--into", str(self._results), *ledger)
        read, failed = self.read_results()
        return set(read) == self._documents.good and failed == self._documents.broken

    def num_read(self) -> int:
        keys = self._cloud.list_keys("async/reading/out/")
        return len({key.rpartition("/")[2] for key in keys})

    def read_results(self) -> tuple[Results, Codes]:
        """Return results and error codes by document; fails for unexpected files."""
        read, failed = {}, {}
        for path in self._results.iterdir():
            if path.name.endswith(".error.json"):
                error = json.loads(path.read_text())
                failed[path.name.removesuffix(".error.json")] = error["code"]
            else:
                assert path.suffix == ".md", f"unexpected file {path.name}"
                read[path.name.removesuffix(".md")] = path.read_bytes()
        return read, failed

    def check_final_state(self) -> None:
        """Assert that the ledger has every document once, with its final state."""
        with closing(SqliteLedger(Path(self._ledger))) as ledger:
            jobs = list(ledger.read_jobs())
        states = {Path(job.source).name: job.state for job in jobs}
        assert len(states) == len(jobs)
        assert states == {
            name: State.FAILED if code else State.DONE
            for name, code in self._documents.codes.items()
        }


class JobReading:
    """Reading of a folder by batch transform jobs."""

    def __init__(self, cloud: Cloud, documents: Documents, name: str) -> None:
        self._cloud = cloud
        self._documents = documents
        self._prefix = f"{name}/"
        self._refused: dict[str, str] = {}
        self._failed: dict[str, str] = {}

    def run_round(self, command: Command) -> bool:
        target = f"s3://{BUCKET}/{self._prefix}"
        summary = command("transform", "start", str(self._documents.folder), target)
        # Only the first command reports documents that are in no job.
        self._refused = {
            Path(entry["document"]).name: entry["code"] for entry in summary["left_out"]
        }
        while not self._is_done(summary):
            summary = command("transform", "retry", summary["job"])
        return True

    def _is_done(self, summary: dict[str, object]) -> bool:
        failures, left_out = summary.get("failures", []), summary["left_out"]
        assert isinstance(failures, list), summary
        assert isinstance(left_out, list), summary
        # A retry reports documents that would fail again, and leaves them out.
        self._failed = self._refused | {
            Path(entry["document"]).name: entry["code"]
            for entry in [*left_out, *failures]
        }
        return self._failed == self._documents.broken

    def num_read(self) -> int:
        return len(self._cloud.list_keys(self._prefix))

    def check_final_state(self) -> None:
        """Check nothing: `_is_done` compares the counts of every job."""

    def read_results(self) -> tuple[Results, Codes]:
        keys = self._cloud.list_keys(self._prefix)
        names = {key: key.rpartition("/")[2].removesuffix(".out") for key in keys}
        assert len(set(names.values())) == len(keys), "a document has two results"
        return {
            name: self._cloud.read_object(key) for key, name in names.items()
        }, self._failed


@pytest.fixture
def cloud(tmp_path):
    with run_cloud(tmp_path) as started_cloud:
        yield started_cloud


def check_results_despite_kills(
    cloud: Cloud,
    reading_type: type[ReadingMethod],
    root: Path,
    *,
    num_documents: int,
    num_kills: int,
    seed: int,
) -> None:
    """Assert that a reading with kills has the same results as one without."""
    progress = ProgressLog()
    progress.print_line(
        f"{SEED_VARIABLE}={seed}: {num_documents} documents, {num_kills} kills"
    )
    documents = Documents(root, num_documents, seed)

    def read(name: str, kills: Sequence[Kill]) -> tuple[Results, Codes]:
        reading = reading_type(cloud, documents, name)
        submitter = Submitter(cloud, reading.run_round)
        try:
            killer = Killer(cloud, submitter, reading.num_read, progress)
            killer.run(kills)
            submitter.finish(HOUR_SECONDS)
        finally:
            submitter.close()
        progress.print_line(
            f"{name}: all documents are read, in {submitter.num_rounds} rounds"
        )
        reading.check_final_state()
        return reading.read_results()

    expected = read("undisturbed", ())
    assert (set(expected[0]), expected[1]) == (documents.good, documents.broken)
    kills = plan_kills(random.Random(seed), num_kills, num_documents)
    assert read("killed", kills) == expected


with_each_reading = pytest.mark.parametrize(
    "reading_type", [QueueReading, JobReading], ids=["queue", "job"]
)


@with_each_reading
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_folder_has_the_same_results_despite_kills(cloud, reading_type, tmp_path):
    seed = int(os.environ.get(SEED_VARIABLE) or 7)
    check_results_despite_kills(
        cloud, reading_type, tmp_path, num_documents=12, num_kills=4, seed=seed
    )


@with_each_reading
@pytest.mark.jobs
@pytest.mark.timeout(4 * HOUR_SECONDS)
def test_large_folder_has_the_same_results_despite_kills(cloud, reading_type, tmp_path):
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(10_000))
    check_results_despite_kills(
        cloud, reading_type, tmp_path, num_documents=200, num_kills=25, seed=seed
    )
