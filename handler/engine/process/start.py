"""Load of the model and choice of the engine, before an engine process is ready.

torch is imported inside `load_engine`: importing it takes seconds, during which weights
are read ahead, and a failed import must be reported to the worker as a message.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from pathlib import Path

from handler.engine.engine import Engine, EngineInfo
from handler.engine.fallbacks import Check, DeviceLostError
from handler.engine.process.messages import Checking, Pipe, Prepared
from handler.engine.process.start_failures import BUILDING, explain_failure
from handler.errors import ModelLoadError
from handler.prompts import load_prompts
from handler.settings import EngineSettings

__all__ = ["Load", "load_engine", "load_or_explain"]

logger = logging.getLogger(__name__)

Load = Callable[
    [Pipe, EngineSettings, int, Callable[[str], None]], tuple[Engine, EngineInfo]
]
"""Function that loads an engine, and calls its last argument with each stage's name."""


def load_or_explain(
    load: Load, connection: Pipe, settings: EngineSettings, index: int
) -> tuple[Engine, EngineInfo]:
    """Load the engine of accelerator `index` with `load`.

    Passes DeviceLostError on, without logging it. Logs any other failure, and raises
    ModelLoadError with the explanation of `explain_failure`.
    """
    stages = ["starting the engine process"]
    try:
        return load(connection, settings, index, stages.append)
    except DeviceLostError:
        raise
    except Exception as error:
        failure = explain_failure(error, stages[-1])
        logger.error(
            "start failed",
            extra={
                "engine": index,
                "stage": stages[-1],
                "kind": failure.code,
                "is_transient": failure.is_transient,
                "reason": failure.reason,
            },
            # A ModelLoadError without a cause has a complete message: no traceback.
            exc_info=not isinstance(error, ModelLoadError) or error.__cause__,
        )
        raise ModelLoadError(
            failure.reason, is_transient=failure.is_transient
        ) from error


def load_engine(
    connection: Pipe,
    settings: EngineSettings,
    index: int,
    begin: Callable[[str], None],
) -> tuple[Engine, EngineInfo]:
    """Load the model onto accelerator `index` and choose the engine that runs it.

    Calls `begin` with the name of each stage, and sends Prepared and Checking messages
    through `connection`. Downloads the weights if they are not on the disk yet. Raises
    ModelLoadError if the device or the weights are unsuitable, DeviceLostError if a
    check made the device unusable, and any error of torch or of the network.
    """
    from handler.engine.device.accelerator import choose_device
    from handler.weights.read_ahead import ReadAhead
    from handler.weights.source import fetch, find_source

    begin("finding the weights")
    source = find_source(settings)
    # Importing torch takes seconds, during which the storage would be idle.
    ahead = ReadAhead(source.files) if index == 0 else None
    begin("importing torch and transformers")
    # Imports create no garbage; pausing the collector saves a fifth of the time.
    gc.disable()
    try:
        from handler.engine.device.model import (
            check_free_memory,
            load_model,
            select_and_list_accelerators,
        )
        from handler.engine.selection.choice import choose_engine
    finally:
        gc.freeze()
        gc.enable()

    begin("initialising CUDA")
    accelerators = select_and_list_accelerators(index)
    # Check the device before 18 GB are downloaded, and again when their size is known.
    choose_device(
        accelerators,
        index,
        is_mini=source.may_be_mini,
        allow_cpu=settings.allow_cpu,
        weights_bytes=0,
    )
    begin("fetching the weights")
    weights = fetch(source, settings, Path(settings.cache_dir).expanduser())
    load_prompts(weights.profile)
    device = choose_device(
        accelerators,
        index,
        is_mini=weights.profile.name == "mini",
        allow_cpu=settings.allow_cpu,
        weights_bytes=weights.num_bytes,
    )
    connection.send(Prepared(len(accelerators) if device != "cpu" else 1))
    begin(f"loading the weights onto {device}")
    check_free_memory(device, weights.num_bytes)
    model = load_model(weights, device, settings.cpu_threads, ahead)
    begin(f"{BUILDING} on {device}")

    def announce(check: Check | None) -> None:
        connection.send(Checking(check))

    chosen = choose_engine(model, settings, weights.profile.name, announce=announce)
    info = EngineInfo(
        model_id=weights.model_id,
        revision=weights.revision,
        profile=weights.profile.name,
        engine=chosen.name,
        device=device,
        max_pages_in_flight=chosen.max_pages_in_flight,
        is_trained=weights.is_trained,
        attention=chosen.attention,
        cuda_graphs=chosen.cuda_graphs,
        fallbacks=chosen.fallbacks,
    )
    return chosen.engine, info
