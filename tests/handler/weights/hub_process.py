"""A process that fetches weights, whose hub client reads the environment only once."""

from __future__ import annotations

from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from handler.errors import HandlerError
from handler.processes.child import Child
from handler.settings import EngineSettings
from handler.weights.source import LocalWeights, Source, fetch

__all__ = ["HubProcess"]

SECONDS = 60.0


class HubProcess:
    """Fetches from the hub that `environ` names, one model after the other."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._child = Child(_serve, environ=environ)

    def fetch(
        self, source: Source, settings: EngineSettings, cache: Path
    ) -> LocalWeights:
        """Fetch in the process; raise the HandlerError that it raises there."""
        self._child.connection.send((source, settings, cache))
        assert self._child.connection.poll(SECONDS)
        answer: Any = self._child.connection.recv()
        if isinstance(answer, HandlerError):
            raise answer
        assert isinstance(answer, LocalWeights)
        return answer

    def close(self) -> None:
        self._child.close()


def _serve(connection: Connection) -> None:
    while True:
        source, settings, cache = connection.recv()
        try:
            connection.send(fetch(source, settings, cache))
        except HandlerError as error:
            connection.send(error)
