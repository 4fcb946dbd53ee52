"""Servers with the real frontend, and `toy_handler.py` in place of a model.

They run with a JRE, which shows that the frontend needs no compiler.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from server.archive import configure_archive
from tests.server.conftest import Client, run_server
from tests.server.jre import create_jre

__all__ = ["post_unchecked", "toy_request_body", "toy_server", "toy_store"]

HANDLER = Path(__file__).with_name("toy_handler.py")

Start = Callable[..., AbstractContextManager[Client]]


def toy_request_body(**values: float) -> bytes:
    """Return a request body that makes the toy handler answer `bytes` after `seconds`.

    Both values are optional.
    """
    return json.dumps(values).encode()


def post_unchecked(client: Client, body: bytes, **headers: str) -> httpx.Response:
    """POST on a new connection, without a check of the answer against openapi.yaml."""
    address = f"{client.server.address}/invocations"
    all_headers = {"Content-Type": "application/octet-stream", **headers}
    return httpx.post(address, content=body, headers=all_headers, timeout=120)


@pytest.fixture(scope="session")
def toy_store(model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with an archive that holds the toy handler and starts no early engine."""
    scratch, store = tmp_path_factory.mktemp("scratch"), tmp_path_factory.mktemp("toy")
    archive = scratch / "chandra.mar"
    with (
        zipfile.ZipFile(model_store / archive.name) as source,
        zipfile.ZipFile(archive, "w") as target,
    ):
        for name in source.namelist():
            is_handler = name == "service.py"
            target.writestr(
                name, HANDLER.read_bytes() if is_handler else source.read(name)
            )
    configure_archive(archive, store, {"handler": {"none": "no engine is started"}})
    return store


@pytest.fixture
def toy_server(toy_store: Path, tmp_path: Path) -> Start:
    """Function that starts a server with changed properties and model configuration."""
    environ = create_jre(tmp_path / "jre")

    def start(
        overrides: dict[str, str] | None = None, **model_config: object
    ) -> AbstractContextManager[Client]:
        store = tmp_path / "store"
        store.mkdir(exist_ok=True)
        configure_archive(toy_store / "chandra.mar", store, model_config)
        return run_server(store, environ, overrides=overrides)

    return start
