"""Everything an engine process does before it is ready.

torch is imported here and not above: importing it takes seconds, in which weights are
read ahead, and a failure of the import must become a message.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from pathlib import Path

from handler.engine.engine import Engine, EngineInfo
from handler.engine.fallbacks import Check, DeviceLostError
from handler.engine.messages import Checking, Pipe, Prepared
from handler.engine.start_failures import explain_failure
from handler.errors import ModelLoadError
from handler.prompts import load_prompts
from handler.settings import EngineSettings

__all__ = ["Load", "load_engine", "load_or_explain"]

logger = logging.getLogger(__name__)

Load = Callable[
    [Pipe, EngineSettings, int, Callable[[str], None]], tuple[Engine, EngineInfo]
]
"""Loads an engine; tells its last argument which stage begins."""


def load_or_explain(
    load: Load, connection: Pipe, settings: EngineSettings, index: int
) -> tuple[Engine, EngineInfo]:
    """Load the engine of accelerator `index` by `load`.

    Raises ModelLoadError, which says what happened and what to do, for every failure
    but DeviceLostError.
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
            # A ModelLoadError without a cause is our own check: its sentence says all.
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
    """Load the model onto accelerator `index` and choose the engine that runs it."""
    from handler.engine.accelerator import choose_device
    from handler.engine.read_ahead import ReadAhead
    from handler.engine.weights import fetch, find_source

    begin("finding the weights")
    source = find_source(settings)
    # Importing torch takes seconds, in which the storage would have nothing to do.
    ahead = ReadAhead(source.files) if index == 0 else None
    begin("importing torch and transformers")
    # Nothing of it is garbage, and looking for some takes a fifth of the time.
    gc.disable()
    try:
        from handler.engine.choice import choose_engine
        from handler.engine.model import accelerators, check_free_memory, load_model
    finally:
        gc.freeze()
        gc.enable()

    begin("initialising CUDA")
    found = accelerators(index)
    # Before 18 GB are fetched in vain, and once more when it is known what they are.
    choose_device(
        found,
        index,
        is_mini=source.may_be_mini,
        allow_cpu=settings.allow_cpu,
        weights_bytes=0,
    )
    begin("fetching the weights")
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
    begin(f"loading the weights onto {device}")
    check_free_memory(device, weights.num_bytes)
    model = load_model(weights, device, settings.cpu_threads, ahead)
    begin(f"building the engine on {device}")

    def announce(check: Check | None) -> None:
        connection.send(Checking(check))

    chosen = choose_engine(model, settings, weights.profile.name, announce=announce)
    info = EngineInfo(
        model_id=weights.model_id,
        revision=weights.revision,
        profile=weights.profile.name,
        engine=chosen.name,
        device=device,
        num_slots=chosen.num_slots,
        is_trained=weights.is_trained,
        attention=chosen.attention,
        cuda_graphs=chosen.cuda_graphs,
        fallbacks=chosen.fallbacks,
    )
    return chosen.engine, info
