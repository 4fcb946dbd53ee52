"""A folder of documents by queue and by job, while everything is killed with SIGKILL.

What is compared are the answers as Markdown: in JSON the time that a document took and
the id of its request differ by nature.
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
from tests.jobs.cloud import BUCKET, Cloud, running
from tests.jobs.diary import Diary
from tests.jobs.kills import Kill, Killer, schedule
from tests.jobs.submitter import Command, Submitter
from tests.marks import needs_the_plugin

SEED = "JOBS_SEED"
HOUR = 3600.0

pytestmark = needs_the_plugin


Answers = dict[str, bytes]
Codes = dict[str, str]
"""By the document's name."""


class Documents:
    """A folder, what is wrong with each document in it, and where results come."""

    def __init__(self, root: Path, num_documents: int, seed: int) -> None:
        self.root = root
        self.folder = root / "scans"
        self.codes = folder.fill(self.folder, num_documents, seed)
        self.good = {name for name, code in self.codes.items() if code is None}
        self.broken: Codes = {name: code for name, code in self.codes.items() if code}


class Way(Protocol):
    """By which a folder is read."""

    def __init__(self, cloud: Cloud, documents: Documents, name: str) -> None: ...
    def round_of(self, command: Command) -> bool: ...
    def num_read(self) -> int: ...
    def check(self) -> None: ...
    def results(self) -> tuple[Answers, Codes]: ...


class Queued:
    """By the asynchronous endpoint."""

    def __init__(self, cloud: Cloud, documents: Documents, name: str) -> None:
        cloud.make_queue()
        # What somebody else had read would be known.
        cloud.empty("async/")
        self._cloud = cloud
        self._documents = documents
        self._ledger = str(documents.root / f"{name}.db")
        self._results = documents.root / name

    def round_of(self, command: Command) -> bool:
        ledger = ("--ledger", self._ledger)
        scans = str(self._documents.folder)
        # Markdown as the server writes it, as in a job.
        command(
            *("async", "submit", scans, "--format", "md", "--retry-failed"), *ledger
        )
        command("async", "wait", *ledger)
        command("async", "fetch", "--into", str(self._results), *ledger)
        read, failed = self.results()
        return set(read) == self._documents.good and failed == self._documents.broken

    def num_read(self) -> int:
        keys = self._cloud.keys("async/reading/out/")
        return len({key.rpartition("/")[2] for key in keys})

    def results(self) -> tuple[Answers, Codes]:
        """Answers and codes, by document; whatever else lies there is an error."""
        read, failed = {}, {}
        for path in self._results.iterdir():
            if path.name.endswith(".error.json"):
                error = json.loads(path.read_text())
                failed[path.name.removesuffix(".error.json")] = error["code"]
            else:
                assert path.suffix == ".md", f"nobody asked for {path.name}"
                read[path.name.removesuffix(".md")] = path.read_bytes()
        return read, failed

    def check(self) -> None:
        """Every document is in the ledger once, and settled."""
        with closing(SqliteLedger(Path(self._ledger))) as ledger:
            jobs = list(ledger.jobs())
        states = {Path(job.source).name: job.state for job in jobs}
        assert len(states) == len(jobs)
        assert states == {
            name: State.FAILED if code else State.DONE
            for name, code in self._documents.codes.items()
        }


class Transformed:
    """By batch transform."""

    def __init__(self, cloud: Cloud, documents: Documents, name: str) -> None:
        self._cloud = cloud
        self._documents = documents
        self._prefix = f"{name}/"
        self._refused: dict[str, str] = {}
        self._failed: dict[str, str] = {}

    def round_of(self, command: Command) -> bool:
        output = f"s3://{BUCKET}/{self._prefix}"
        told = command("transform", "start", str(self._documents.folder), output)
        # What is in no job is told by whoever starts them.
        self._refused = {
            Path(each["document"]).name: each["code"] for each in told["left_out"]
        }
        while not self._is_done(told):
            told = command("transform", "retry", told["job"])
        return True

    def _is_done(self, told: dict[str, object]) -> bool:
        failures, left_out = told.get("failures", []), told["left_out"]
        assert isinstance(failures, list), told
        assert isinstance(left_out, list), told
        # Documents that would fail again are left out of the next job, and told.
        self._failed = self._refused | {
            Path(each["document"]).name: each["code"] for each in [*left_out, *failures]
        }
        return self._failed == self._documents.broken

    def num_read(self) -> int:
        return len(self._cloud.keys(self._prefix))

    def check(self) -> None:
        """What a job was asked for is counted when it is asked."""

    def results(self) -> tuple[Answers, Codes]:
        keys = self._cloud.keys(self._prefix)
        names = {key: key.rpartition("/")[2].removesuffix(".out") for key in keys}
        assert len(set(names.values())) == len(keys), "a document has two results"
        return {
            name: self._cloud.read(key) for key, name in names.items()
        }, self._failed


@pytest.fixture
def cloud(tmp_path):
    with running(tmp_path) as found:
        yield found


def survives(
    cloud: Cloud,
    way: type[Way],
    root: Path,
    *,
    num_documents: int,
    num_kills: int,
    seed: int,
) -> None:
    """Read undisturbed and then killed again and again, to the same bytes."""
    diary = Diary()
    diary.say(f"{SEED}={seed}: {num_documents} documents, {num_kills} kills")
    documents = Documents(root, num_documents, seed)

    def read(name: str, kills: Sequence[Kill]) -> tuple[Answers, Codes]:
        reading = way(cloud, documents, name)
        submitter = Submitter(cloud, reading.round_of)
        try:
            killer = Killer(cloud, submitter, reading.num_read, diary)
            killer.run(kills)
            submitter.finish(HOUR)
        finally:
            submitter.close()
        diary.say(f"{name}: all is read, in {submitter.num_rounds} rounds")
        reading.check()
        return reading.results()

    expected = read("undisturbed", ())
    assert (set(expected[0]), expected[1]) == (documents.good, documents.broken)
    kills = schedule(random.Random(seed), num_kills, num_documents)
    assert read("killed", kills) == expected


ways = pytest.mark.parametrize("way", [Queued, Transformed], ids=["queue", "job"])


@ways
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_folder_is_read_to_the_same_bytes_whoever_is_killed_meanwhile(
    cloud, way, tmp_path
):
    seed = int(os.environ.get(SEED) or 7)
    survives(cloud, way, tmp_path, num_documents=12, num_kills=4, seed=seed)


@ways
@pytest.mark.jobs
@pytest.mark.timeout(4 * HOUR)
def test_two_hundred_documents_survive_twenty_five_kills(cloud, way, tmp_path):
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(10_000))
    survives(cloud, way, tmp_path, num_documents=200, num_kills=25, seed=seed)
