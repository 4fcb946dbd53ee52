"""Main loop of an engine process: load the engine, then run its steps."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable

from handler.engine.engine import Engine
from handler.engine.fallbacks import DeviceLostError
from handler.engine.process.heartbeat import BEAT_SECONDS, HeartbeatThread
from handler.engine.process.messages import (
    Cancel,
    Ended,
    FromEngine,
    LoadFailed,
    PageProgress,
    Pipe,
    Ready,
    Submit,
    ToEngine,
)
from handler.engine.process.start import Load, load_engine, load_or_explain
from handler.engine.steps import StepKind
from handler.errors import ModelLoadError
from handler.settings import EngineSettings

__all__ = ["Loop", "main"]

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5


def main(
    connection: Pipe,
    settings: EngineSettings,
    index: int,
    *,
    load: Load = load_engine,
    exit_process: Callable[[int], None] = os._exit,
) -> None:
    """Load an engine and run its loop; the entry point of an engine process.

    `index` is the number of its accelerator. Sends Ready once the engine is loaded.
    Sends LoadFailed with the reason and returns if `load` fails. If the device was lost
    during a check, the process exits at once: the worker knows which check it was, and
    starts the next process without the optimisation that was checked.
    """
    try:
        engine, info = load_or_explain(load, connection, settings, index)
    except ModelLoadError as error:
        connection.send(LoadFailed(error.detail, error.is_transient))
        return
    except DeviceLostError as error:
        logger.critical("device lost", extra={"engine": index, "reason": str(error)})
        # Not sys.exit: destructors of a lost CUDA context may abort or hang.
        exit_process(1)
        return
    connection.send(Ready(info))
    Loop(engine, connection, device_bytes=_make_device_bytes_reader(info.device)).run()


def _make_device_bytes_reader(device: str) -> Callable[[], int | None]:
    """Return a function that returns a device's memory in use, or None for a CPU."""
    if not device.startswith("cuda"):
        return lambda: None
    from handler.engine.device.model import measure_device_bytes

    return lambda: measure_device_bytes(device)


class Loop:
    """Loop that passes messages to an engine and sends its results to the worker.

    One thread reads the pipe, so that messages arrive during a step and the process
    ends as soon as the pipe closes. Another thread sends heartbeats.
    `device_bytes` returns the accelerator's memory in use for progress messages.
    """

    def __init__(
        self,
        engine: Engine,
        connection: Pipe,
        clock: Callable[[], float] = time.monotonic,
        exit_process: Callable[[int], None] = os._exit,
        device_bytes: Callable[[], int | None] = lambda: None,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self._engine = engine
        self._connection = connection
        self._clock = clock
        self._exit_process = exit_process
        self._device_bytes = device_bytes
        self._inbox: queue.SimpleQueue[ToEngine] = queue.SimpleQueue()
        self._last_progress = clock()
        self._send_lock = threading.Lock()
        self._heartbeat = HeartbeatThread(self._send, engine.steps, beat_seconds)

    def run(self) -> None:
        """Run until the engine raises an exception, which is passed on.

        The process exits with status 0 as soon as the worker closes the pipe.
        """
        threading.Thread(target=self._receive, daemon=True).start()
        self._heartbeat.start()
        try:
            while True:
                if not self._engine.has_work:
                    self._engine.steps.stop()
                    self._apply(self._inbox.get())
                self._poll()
                ended = self._engine.step(self._poll)
                self._engine.steps.start(StepKind.SCHEDULE)
                for output in ended:
                    self._send(Ended(output))
        finally:
            self._heartbeat.stop()

    def _send(self, message: FromEngine) -> None:
        with self._send_lock:
            self._connection.send(message)

    def _receive(self) -> None:
        """Queue messages until the worker closes the pipe; then exit the process."""
        try:
            while True:
                self._inbox.put(self._connection.recv())
        except (EOFError, OSError):
            # Not sys.exit: it would end only this thread. Nor a message to the main
            # thread: a forward pass could keep it busy for seconds.
            self._exit_process(0)

    def _poll(self) -> None:
        """Pass queued messages to the engine, and report progress if it is due."""
        while not self._inbox.empty():
            self._apply(self._inbox.get())
        now = self._clock()
        if now - self._last_progress >= PROGRESS_SECONDS:
            self._last_progress = now
            self._send(
                PageProgress(self._engine.count_output_tokens(), self._device_bytes())
            )

    def _apply(self, message: ToEngine) -> None:
        """Submit or cancel a page, and start the timer for it."""
        match message:
            case Submit(request):
                page = request.page
                num_pixels = page.pixel_width * page.pixel_height
                self._engine.steps.start(StepKind.SUBMIT, num_pixels)
                self._engine.submit(request)
            case Cancel(engine_request_id):
                self._engine.steps.start(StepKind.SCHEDULE)
                self._engine.cancel(engine_request_id)
