"""Ledger of the documents in a queue, written before and after each request.

`save` compares versions, so that a job is changed only by the process that read its
latest version. This module stores the ledger in SQLite, and `deploy.queue.s3_ledger` in
S3.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Protocol

from deploy.errors import ConfigError
from deploy.queue.job import Job, Place, State

__all__ = [
    "Ledger",
    "SqliteLedger",
    "from_json",
    "select_requested_jobs",
    "to_json",
]


class Ledger(Protocol):
    """Stored jobs and places of a queue.

    Finders return None for an unknown key or id. All readers return what is stored now.
    """

    @property
    def name(self) -> str: ...
    def find_job(self, key: str) -> Job | None: ...
    def read_jobs(self) -> Iterator[Job]: ...
    def save(self, job: Job) -> Job | None:
        """Save a job if it has not changed since it was read; return the stored job.

        The stored job has a new stamp. Returns None, and saves nothing, if another
        process has changed the job, or has added it while `job` has no stamp.
        """
        ...

    def find_place(self, place_id: str) -> Place | None: ...
    def read_places(self) -> Iterator[Place]: ...
    def save_place(self, place: Place) -> None:
        """Add a place, or replace the place with its id."""
        ...

    def close(self) -> None: ...


def select_requested_jobs(ledger: Ledger) -> Iterator[Job]:
    """Return the jobs that a place of the ledger requests.

    Jobs for earlier contents of changed documents are left out.
    """
    keys = {place.key for place in ledger.read_places()}
    return (job for job in ledger.read_jobs() if job.key in keys)


SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, version INTEGER NOT NULL,
    record TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS places (id TEXT PRIMARY KEY, record TEXT NOT NULL);
"""


class SqliteLedger:
    """Ledger in a file that several processes of one machine may use at once."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; raises ConfigError if it is not a ledger."""
        self._path = path
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            # Committed records survive a power failure.
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise ConfigError(
                f"the ledger {path} cannot be opened: {error}",
                hint="another one with --ledger",
            ) from error

    @property
    def name(self) -> str:
        return str(self._path)

    def find_job(self, key: str) -> Job | None:
        rows = self._query("SELECT record, version FROM jobs WHERE key = ?", key)
        return _parse_job(*rows[0]) if rows else None

    def read_jobs(self) -> Iterator[Job]:
        for row in self._query("SELECT record, version FROM jobs ORDER BY key"):
            yield _parse_job(*row)

    def save(self, job: Job) -> Job | None:
        record = json.dumps(to_json(job))
        if job.stamp is None:
            changed = self._execute(
                "INSERT OR IGNORE INTO jobs VALUES (?, ?, 1, ?)",
                job.key,
                job.state.value,
                record,
            )
            return replace(job, stamp="1") if changed else None
        version = int(job.stamp)
        changed = self._execute(
            "UPDATE jobs SET state = ?, version = ?, record = ? "
            "WHERE key = ? AND version = ?",
            job.state.value,
            version + 1,
            record,
            job.key,
            version,
        )
        return replace(job, stamp=str(version + 1)) if changed else None

    def find_place(self, place_id: str) -> Place | None:
        rows = self._query("SELECT record FROM places WHERE id = ?", place_id)
        return Place(**json.loads(rows[0][0])) if rows else None

    def read_places(self) -> Iterator[Place]:
        for (record,) in self._query("SELECT record FROM places ORDER BY id"):
            yield Place(**json.loads(record))

    def save_place(self, place: Place) -> None:
        record = json.dumps(asdict(place))
        self._execute("INSERT OR REPLACE INTO places VALUES (?, ?)", place.id, record)

    def close(self) -> None:
        self._database.close()

    def _query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()

    def _execute(self, statement: str, *values: object) -> int:
        """Execute a statement; return the number of changed rows."""
        with self._lock:
            return self._database.execute(statement, values).rowcount


def to_json(job: Job) -> dict[str, Any]:
    """Return the stored record of a job, without its stamp."""
    return {k: v for k, v in asdict(job).items() if k != "stamp"}


def from_json(record: Mapping[str, Any], stamp: str) -> Job:
    """Return the job of a stored record; fields of later versions are ignored."""
    field_names = {f.name for f in fields(Job)}
    values = {name: value for name, value in record.items() if name in field_names}
    return Job(**{**values, "state": State(record["state"]), "stamp": stamp})


def _parse_job(record: str, version: int) -> Job:
    return from_json(json.loads(record), str(version))
