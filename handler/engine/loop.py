"""What an engine process does: load, then step while there is work."""

from __future__ import annotations

import gc
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from handler.engine.engine import Engine, EngineInfo
from handler.engine.heartbeat import BEAT_SECONDS, HeartbeatThread
from handler.engine.messages import (
    Cancel,
    Ended,
    FromEngine,
    LoadFailed,
    Pipe,
    Prepared,
    Progress,
    Ready,
    Submit,
    ToEngine,
)
from handler.engine.steps import StepKind
from handler.errors import ModelLoadError
from handler.prompts import load_prompts
from handler.settings import EngineSettings

__all__ = ["Loop", "main"]

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5


def main(connection: Pipe, settings: EngineSettings, index: int) -> None:
    """Entry point of the engine process for accelerator `index`."""
    try:
        engine, info = _load(connection, settings, index)
    except ModelLoadError as error:
        connection.send(LoadFailed(error.detail))
        return
    connection.send(Ready(info))
    from handler.engine.model import device_bytes

    Loop(engine, connection, device_bytes=lambda: device_bytes(info.device)).run()


def _load(
    connection: Pipe, settings: EngineSettings, index: int
) -> tuple[Engine, EngineInfo]:
    from handler.engine.accelerator import choose_device
    from handler.engine.read_ahead import ReadAhead
    from handler.engine.weights import fetch, find_source

    source = find_source(settings)
    # Importing torch takes seconds, in which the storage would have nothing to do.
    ahead = ReadAhead(source.files) if index == 0 else None
    # Nothing of it is garbage, and looking for some takes a fifth of the time.
    gc.disable()
    try:
        from handler.engine.choice import choose_engine
        from handler.engine.model import accelerators, load_model
    finally:
        gc.freeze()
        gc.enable()

    found = accelerators()
    # Before 18 GB are fetched in vain, and once more when it is known what they are.
    choose_device(
        found,
        index,
        is_mini=source.may_be_mini,
        allow_cpu=settings.allow_cpu,
        weights_bytes=0,
    )
    weights = fetch(source, settings, Path(settings.cache_dir).expanduser())
    load_prompts(weights.profile)
    device = choose_device(
        found,
        index,
        is_mini=weights.profile.name == "mini",
        allow_cpu=settings.allow_cpu,
        weights_bytes=weights.num_bytes,
    )
    connection.send(Prepared(len(found) if device != "cpu" else 1))
    model = load_model(weights, device, settings.cpu_threads, ahead)
    chosen = choose_engine(model, settings, weights.profile.name)
    info = EngineInfo(
        model_id=weights.model_id,
        revision=weights.revision,
        profile=weights.profile.name,
        engine=chosen.name,
        device=device,
        num_slots=chosen.num_slots,
        is_trained=weights.is_trained,
    )
    return chosen.engine, info


class Loop:
    """Hands messages to an engine and its results back, until the pipe closes.

    A thread of its own reads the pipe, so that messages arrive during a step and
    the process ends at once when the worker is gone. Another sends heartbeats.
    """

    def __init__(
        self,
        engine: Engine,
        connection: Pipe,
        clock: Callable[[], float] = time.monotonic,
        leave: Callable[[int], None] = os._exit,
        device_bytes: Callable[[], int | None] = lambda: None,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self._engine = engine
        self._connection = connection
        self._clock = clock
        self._leave = leave
        self._device_bytes = device_bytes
        self._inbox: queue.SimpleQueue[ToEngine] = queue.SimpleQueue()
        self._last_progress = clock()
        self._send_lock = threading.Lock()
        self._heartbeat = HeartbeatThread(self._send, engine.steps, beat_seconds)

    def run(self) -> None:
        """Never returns; an exception of the engine ends the process."""
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
                for generation in ended:
                    self._send(Ended(generation))
        finally:
            self._heartbeat.stop()

    def _send(self, message: FromEngine) -> None:
        with self._send_lock:
            self._connection.send(message)

    def _receive(self) -> None:
        try:
            while True:
                self._inbox.put(self._connection.recv())
        except (EOFError, OSError):
            # Not sys.exit: a forward pass of seconds would keep the device busy.
            self._leave(0)

    def _poll(self) -> None:
        while not self._inbox.empty():
            self._apply(self._inbox.get())
        now = self._clock()
        if now - self._last_progress >= PROGRESS_SECONDS:
            self._last_progress = now
            self._send(Progress(self._engine.num_output_tokens(), self._device_bytes()))

    def _apply(self, message: ToEngine) -> None:
        match message:
            case Submit(sequence):
                page = sequence.page
                num_pixels = page.pixel_width * page.pixel_height
                self._engine.steps.start(StepKind.SUBMIT, num_pixels)
                self._engine.submit(sequence)
            case Cancel(sequence_id):
                self._engine.steps.start(StepKind.SCHEDULE)
                self._engine.cancel(sequence_id)
