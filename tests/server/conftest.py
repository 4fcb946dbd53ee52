"""Fixtures that run a real TorchServe with a real archive on free loopback ports."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.archive import build_archive
from server.console import say
from server.host import find_free_addresses
from server.plugin import find_plugin
from server.torchserve import TorchServe
from tests import openapi


class Lines:
    """Thread-safe list of the lines that a server has printed."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, line: str) -> None:
        with self._lock:
            self._lines.append(line)

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(list(self._lines))

    def find_events(self, name: str) -> list[dict[str, Any]]:
        """Return the parsed JSON lines with this event name."""
        parsed = (json.loads(line) for line in self if line.startswith("{"))
        return [event for event in parsed if event.get("event") == name]


class Client:
    """HTTP client of one server that checks every answer against openapi.yaml."""

    def __init__(self, server: TorchServe, lines: Lines) -> None:
        self.server = server
        self.lines = lines

    def post(
        self,
        content: bytes,
        content_type: str | None = None,
        *,
        accept: str | None = None,
        headers: Mapping[str, str] | None = None,
        path: str = "/invocations",
        timeout_seconds: float = 60,
        **options: str | float | bool,
    ) -> httpx.Response:
        """POST on a new connection, and check the answer against openapi.yaml.

        `options` go into the query string.
        """
        request_headers = {
            "Content-Type": content_type,
            "Accept": accept,
            **(headers or {}),
        }
        answer = httpx.post(
            self.server.address + path,
            content=content,
            headers={
                name: value
                for name, value in request_headers.items()
                if value is not None
            },
            params={name: str(value).lower() for name, value in options.items()},
            timeout=timeout_seconds,
        )
        openapi.check_reply(
            answer.status_code, answer.headers["content-type"], answer.content
        )
        return answer

    def post_json(self, body: Mapping[str, Any], **kwargs: Any) -> httpx.Response:
        content = json.dumps(body).encode()
        return self.post(content, "application/json", **kwargs)


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("model-store")
    build_archive(store)
    return store


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Temporary folder with a path short enough for the server's sockets.

    `tmp_path` is too long if pytest runs in parallel.
    """
    with tempfile.TemporaryDirectory(prefix="short-") as folder:
        yield Path(folder)


@contextmanager
def run_server(
    model_store: Path,
    environ: Mapping[str, str],
    *,
    wait: bool = True,
    overrides: Mapping[str, str] | None = None,
    main_class: str | None = None,
) -> Iterator[Client]:
    """Run a server with the repository's configuration on free ports.

    `wait` waits until the server is ready. `main_class` replaces Java's main class.
    """
    lines = Lines()
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CHANDRA_", "MODEL_"))
    }
    with TorchServe(
        overrides={
            **find_free_addresses(),
            "model_store": str(model_store),
            **(overrides or {}),
        },
        environ={**inherited, "HF_HUB_OFFLINE": "1", **environ},
        write_line=lines,
        plugin=find_plugin(),
        main_class=main_class,
    ) as server:
        try:
            if wait:
                server.wait_until_ready(120)
            yield Client(server, lines)
        except Exception:
            _print_condition(server, lines)
            raise


def _print_condition(server: TorchServe, lines: Lines) -> None:
    """Print the state and the last lines of a server, for the report of a failed test.

    They tell whether a request without an answer is in the queue, in the worker, or in
    neither of them.
    """
    # The error of the test is reported, not one of these calls.
    with suppress(Exception):
        say(f"open requests: {server.count_open_requests()}")
        say(f"ready: {server.is_ready()}, state of the worker: {server.read_state()}")
    for line in list(lines)[-100:]:
        say(line)


@pytest.fixture(scope="session")
def client(model_store: Path) -> Iterator[Client]:
    """Client of a server that is shared by all tests that leave it unchanged."""
    with run_server(model_store, {"CHANDRA_MAX_OUTPUT_TOKENS": "48"}) as shared:
        yield shared


@pytest.fixture
def start_server(model_store: Path):
    """Function that starts a server for one test, as a context with its client.

    Keyword arguments in capitals are environment variables.
    """

    def start(
        *,
        wait: bool = True,
        overrides: Mapping[str, str] | None = None,
        main_class: str | None = None,
        **environ: str,
    ):
        return run_server(
            model_store,
            environ,
            wait=wait,
            overrides=overrides,
            main_class=main_class,
        )

    return start
