"""Ledger in a file and in S3: both behave alike."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.documents.document import Document
from deploy.errors import ConfigError
from deploy.queue.job import Job, Place, State, current_owner, is_owner_gone
from deploy.queue.ledger import SqliteLedger
from deploy.queue.s3_ledger import S3Ledger, open_ledger

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = Document(
    name="a.pdf",
    source="/scans/a.pdf",
    media_type="application/pdf",
    size=7,
    content_key="c0ffee",
    options={"pages": "1-5"},
    num_pages=5,
)
JOB = Job.from_document(DOCUMENT, "run", now=1000.0)


@pytest.fixture(params=["file", "s3"])
def where(request, tmp_path, cloud, wire):
    if request.param == "file":
        return str(tmp_path / "ledger.db")
    wire.call("s3", "create_bucket", Bucket="ledgers")
    return "s3://ledgers/ocr"


@pytest.fixture
def opened(where, wire):
    """Return a function that opens the ledger again; all are closed at the end."""
    ledgers = []

    def open_again():
        ledgers.append(open_ledger(where, wire))
        return ledgers[-1]

    yield open_again
    for each in ledgers:
        each.close()


def test_saved_job_is_read_back_unchanged(opened):
    job = replace(
        JOB, state=State.DONE, output="s3://b/o", pages_read=4, pages_failed={"x": 1}
    )

    saved = opened().save(job)

    reopened = opened().find_job(JOB.key)
    assert reopened == saved == job
    assert reopened.stamp == saved.stamp
    assert list(opened().read_jobs()) == [job]
    assert opened().find_job("another") is None


def test_job_is_inserted_once(opened):
    assert opened().save(JOB) is not None

    assert opened().save(replace(JOB, state=State.SENDING)) is None
    assert opened().find_job(JOB.key).state is State.NEW


def test_second_change_of_same_version_is_refused(opened):
    ledger, other = opened(), opened()
    ledger.save(JOB)
    job, same_job = ledger.find_job(JOB.key), other.find_job(JOB.key)

    first_saved = ledger.save(replace(job, state=State.SENDING, owner="one/1"))
    second_saved = other.save(replace(same_job, state=State.SENDING, owner="two/2"))

    assert first_saved is not None
    assert second_saved is None
    assert other.find_job(JOB.key).owner == "one/1"


def test_returned_stamp_allows_next_save(opened):
    ledger = opened()
    saved = ledger.save(JOB)
    for state in (State.SENDING, State.SUBMITTED, State.DONE):
        saved = ledger.save(replace(saved, state=state))

    assert ledger.find_job(JOB.key).state is State.DONE


def test_one_of_many_threads_claims_the_job(opened):
    ledger = opened()
    job = ledger.save(JOB)

    with ThreadPoolExecutor(8) as threads:
        saved_jobs = list(
            threads.map(
                lambda number: ledger.save(replace(job, owner=f"host/{number}")),
                range(8),
            )
        )

    assert sum(saved is not None for saved in saved_jobs) == 1


def test_places_are_saved_and_replaced(opened):
    ledger = opened()
    place = Place("p1", "a.pdf", "/scans/a.pdf", "k1")
    ledger.save_place(place)
    ledger.save_place(replace(place, key="k2", written={"/scans/a.pdf.md": "5a"}))

    assert [p.key for p in opened().read_places()] == ["k2"]
    assert opened().find_place("p1").written == {"/scans/a.pdf.md": "5a"}
    assert opened().find_place("p2") is None


def test_all_jobs_are_listed(opened):
    ledger = opened()
    for number in range(40):
        ledger.save(replace(JOB, key=f"k{number:02}"))

    assert [job.key for job in ledger.read_jobs()] == [f"k{n:02}" for n in range(40)]


def test_ledger_in_s3_needs_no_prefix(cloud, wire):
    wire.call("s3", "create_bucket", Bucket="ledgers")
    ledger = S3Ledger(wire, "s3://ledgers")
    ledger.save(JOB)

    assert ledger.name == "s3://ledgers/"
    assert [job.key for job in S3Ledger(wire, "s3://ledgers/").read_jobs()] == [JOB.key]


def test_unknown_fields_are_ignored(tmp_path):
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.save(JOB)
    ledger._execute(
        "UPDATE jobs SET record = json_set(record, '$.invented', 1) WHERE key = ?",
        JOB.key,
    )

    assert ledger.find_job(JOB.key) == JOB
    ledger.close()


def test_file_that_is_not_a_ledger_is_refused(tmp_path):
    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database at all, and longer than its header" * 10)

    with pytest.raises(ConfigError, match=r"ledger\.db cannot be opened"):
        SqliteLedger(path)


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from deploy.queue.job import State
from deploy.queue.ledger import SqliteLedger
from tests.deploy.queue.test_ledger import JOB

ledger = SqliteLedger(Path(sys.argv[1]))
for number in range(100_000):
    saved = ledger.save(replace(JOB, key=f"k{number:06}", state=State.SENDING))
    ledger.save(replace(saved, state=State.SUBMITTED))
    print(number, flush=True)
"""


def test_saved_job_survives_kill(tmp_path):
    path = tmp_path / "ledger.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert writer.stdout is not None
    lines = [int(writer.stdout.readline()) for _ in range(50)]
    writer.send_signal(signal.SIGKILL)
    lines += [int(line) for line in writer.stdout.read().splitlines()]
    writer.wait()
    writer.stdout.close()

    ledger = SqliteLedger(path)
    states = {job.key: job.state for job in ledger.read_jobs()}
    ledger.close()
    assert all(states[f"k{number:06}"] is State.SUBMITTED for number in lines)


def test_ended_process_is_gone_only_on_this_machine():
    host = current_owner().rpartition("/")[0]

    assert not is_owner_gone(current_owner())
    assert is_owner_gone(f"{host}/12", lambda process: False)
    assert not is_owner_gone(f"{host}/12", lambda process: True)
    assert not is_owner_gone("elsewhere/12")
    assert is_owner_gone(None)
    assert os.getpid() == int(current_owner().rpartition("/")[2])


def test_retried_put_is_no_conflict(cloud, wire):
    wire.call("s3", "create_bucket", Bucket="ledgers")
    ledger = S3Ledger(wire, "s3://ledgers/ocr")
    sending = replace(JOB, state=State.SENDING, owner="host/1")
    ledger.save(sending)

    saved_again = ledger.save(sending)

    assert saved_again is not None
    assert ledger.save(replace(saved_again, state=State.SUBMITTED)) is not None
