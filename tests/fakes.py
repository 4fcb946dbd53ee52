"""Fakes of TorchServe's context and of an engine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from handler.engine.engine import EngineInfo
from handler.engine.process.heartbeat import BEAT_SECONDS
from handler.engine.process.loop import Loop
from handler.engine.process.messages import LoadFailed, Prepared, Ready
from handler.engine.request import EngineOutput, EngineRequest, FinishReason
from handler.engine.steps import MIN_LIMIT_SECONDS, StepKind, StepTimer
from handler.processes.child import Child
from handler.schema import Page
from handler.settings import EngineSettings


class FakeContext:
    """TorchServe's context for one call of `handle`."""

    def __init__(
        self,
        request_ids: Mapping[int, str],
        headers: Mapping[int, Mapping[str, str]] | None = None,
    ) -> None:
        self.request_ids = dict(request_ids)
        self.stopping_criteria: Any = None
        self.statuses: dict[int, int] = {}
        self.content_types: dict[int, str] = {}
        self.response_headers: dict[int, dict[str, str]] = {}
        self._headers = headers or {}

    def get_all_request_header(self, index: int) -> dict[str, Any]:
        return {**self._headers.get(index, {}), "body": {"content-type": "x/y"}}

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        assert phrase.isascii()
        self.statuses[idx] = code

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.content_types[idx] = value

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        self.response_headers.setdefault(idx, {})[key] = value


def page(number: int = 1, width: int = 64, height: int = 64) -> Page:
    """Return a white page."""
    return Page(number, width, height, width, height, b"\xff" * (width * height * 3))


def engine_request(name: str, prompt: str = "say hello") -> EngineRequest:
    """Return a request for a page; its prompt is the script of a ScriptedEngine."""
    request_id = name.partition("/")[0]
    return EngineRequest(name, request_id, page(), prompt, max_output_tokens=100)


class ScriptedEngine:
    """Engine that follows the instruction in each prompt, one page at a time.

    `say WORDS` answers at once, `wait SECONDS` takes this time over several steps, and
    `encode SECONDS` in one step. `die` kills the process, `raise` raises an error, and
    `hang` never ends its step.
    """

    def __init__(self, steps: StepTimer | None = None) -> None:
        self.steps = steps or StepTimer()
        self._waiting: list[EngineRequest] = []
        self._running: EngineRequest | None = None
        self._is_cancelled = False
        self._num_tokens = 0
        self._ended: list[EngineOutput] = []

    def submit(self, request: EngineRequest) -> None:
        self._waiting.append(request)

    def cancel(self, engine_request_id: str) -> None:
        for request in self._waiting:
            if request.id == engine_request_id:
                self._waiting.remove(request)
                self._ended.append(
                    EngineOutput(engine_request_id, FinishReason.ABORTED)
                )
                return
        if self._running is not None and self._running.id == engine_request_id:
            self._is_cancelled = True

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._ended)

    def count_output_tokens(self) -> dict[str, int]:
        return {} if self._running is None else {self._running.id: self._num_tokens}

    def step(self, poll: Callable[[], None]) -> list[EngineOutput]:
        ended, self._ended = self._ended, []
        if not self._waiting:
            return ended
        self._running, self._is_cancelled = self._waiting.pop(0), False
        self._num_tokens = 0
        verb, _, words = self._running.prompt.partition(" ")
        reason = FinishReason.STOP
        self.steps.start(StepKind.ENCODE if verb == "encode" else StepKind.DECODE)
        match verb:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise RuntimeError(words)
            case "hang":
                time.sleep(600)
            case "encode":
                time.sleep(float(words))
            case "wait":
                until = time.monotonic() + float(words)
                while time.monotonic() < until and not self._is_cancelled:
                    time.sleep(0.01)
                    self._num_tokens += 1
                    poll()
                    self.steps.start(StepKind.DECODE)
                if self._is_cancelled:
                    reason = FinishReason.ABORTED
        done, self._running = self._running, None
        return [*ended, EngineOutput(done.id, reason, text=words, num_output_tokens=1)]


def scripted_engine_main(
    connection: Connection,
    settings: EngineSettings,
    index: int,
    min_limit_seconds: float = MIN_LIMIT_SECONDS,
    beat_seconds: float = BEAT_SECONDS,
) -> None:
    """Run an engine process with a ScriptedEngine.

    `model_id` determines the start: `unloadable` fails with a reason, `mortal` dies.
    """
    if settings.model_id == "unloadable":
        connection.send(LoadFailed("there is no such model"))
        return
    if settings.model_id == "mortal":
        os.kill(os.getpid(), signal.SIGKILL)
    num_accelerators = int(settings.model_revision or 1)
    connection.send(Prepared(num_accelerators))
    info = EngineInfo(
        model_id="scripted",
        revision=None,
        profile="mini",
        engine="scripted",
        device=f"fake:{index}",
        max_pages_in_flight=settings.max_sequences or 1,
    )
    connection.send(Ready(info))
    steps = StepTimer(min_limit_seconds=min_limit_seconds)
    Loop(ScriptedEngine(steps), connection, beat_seconds=beat_seconds).run()


def start_scripted_child(settings: EngineSettings, index: int) -> Child:
    return Child(scripted_engine_main, settings, index)


def start_impatient_child(settings: EngineSettings, index: int) -> Child:
    """Start an engine process with frequent heartbeats whose steps hang after 1 s."""
    return Child(scripted_engine_main, settings, index, 1.0, 0.05)
