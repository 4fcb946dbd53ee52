"""Pools of the decoder and writer processes: their sizes, and checks at their start."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from handler import postprocess, preprocess
from handler.processes.pool import Pool
from handler.sandbox.confinement import current_confinement
from handler.settings import HandlerSettings
from handler.worker.memory import (
    decoder_limit_bytes,
    memory_limit_bytes,
    writer_limit_bytes,
)

__all__ = ["log_confinement", "log_missing_fonts", "start_pools"]

logger = logging.getLogger(__name__)

CHECK_SECONDS = 60.0
"""Time limit for asking a process about its confinement or its fonts at start."""


def start_pools(settings: HandlerSettings) -> tuple[Pool, Pool]:
    """Start the pools of decoders and writers, and return them.

    Memory limits that are not set are derived from the container's memory. Background
    threads log how the processes are confined and which fonts are missing.
    """
    memory_bytes = memory_limit_bytes()
    decoders = Pool(
        settings.decoder_processes,
        memory_bytes=settings.decoder_memory_bytes
        or decoder_limit_bytes(
            memory_bytes,
            settings.decoder_processes,
            settings.largest_document_bytes,
        ),
        modules=[preprocess.__name__],
        name="decoder",
    )
    writers = Pool(
        settings.writer_processes,
        memory_bytes=settings.writer_memory_bytes
        or writer_limit_bytes(memory_bytes, settings.writer_processes),
        modules=[postprocess.__name__],
        name="writer",
    )
    for kind, pool in (("decoders", decoders), ("writers", writers)):
        threading.Thread(target=log_confinement, args=(kind, pool), daemon=True).start()
    threading.Thread(target=log_missing_fonts, args=(decoders,), daemon=True).start()
    return decoders, writers


def log_confinement(kind: str, pool: Pool) -> None:
    """Log which measures confine the processes of a pool; never raise.

    `kind` names the processes in the event. An incomplete confinement is a warning.
    """
    try:
        confinement = pool.call(CHECK_SECONDS, current_confinement)
    except Exception as error:
        logger.warning("confinement unknown", extra={"of": kind, "how": repr(error)})
        return
    is_complete = confinement.has_system_call_filter and confinement.landlock > 0
    logger.log(
        logging.INFO if is_complete else logging.WARNING,
        "confined",
        extra={
            "of": kind,
            "no_new_privileges": confinement.has_no_new_privileges,
            "landlock": confinement.landlock,
            "seccomp": confinement.has_system_call_filter,
            "memory_bytes": confinement.memory_bytes,
        },
    )


def log_missing_fonts(
    pool: Pool,
    find_missing_scripts: Callable[[], list[str]] = preprocess.find_missing_scripts,
) -> None:
    """Log a warning if the processes of a pool lack fonts for scripts; never raise.

    `find_missing_scripts` is called in a process of the pool.
    """
    try:
        scripts = pool.call(CHECK_SECONDS, find_missing_scripts)
    except Exception as error:
        logger.warning("fonts unknown", extra={"how": repr(error)})
        return
    if scripts:
        logger.warning(
            "fonts missing",
            extra={
                "scripts": scripts,
                "reason": "PDF text in these scripts is blank if its font is not "
                f"embedded: {preprocess.INSTALL_ADVICE}",
            },
        )
