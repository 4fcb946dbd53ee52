"""First process of a container: `python -m server.container serve`.

Its settings come from environment variables, as SageMaker passes them. Any other
command replaces this process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import handler
from handler.weights.source import SAGEMAKER_MODEL_DIR
from handler.worker.memory import memory_limit_bytes
from server.archive import MODEL_NAME, ROOT, configure_archive
from server.console import say
from server.environment import ContainerSettings, VariableError, read_environment
from server.folders import LockedFolder, remove_leftovers
from server.host import (
    can_switch_user,
    find_private_addresses,
    find_unreadable_path,
    reap_orphans,
)
from server.java import JavaNotFoundError
from server.output import EventWriter
from server.plugin import PluginError, find_plugin
from server.supervisor import StopRequests, Supervisor
from server.torchserve import TorchServe

__all__ = ["main"]

STORE_PREFIX = "chandra-store-"


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path = ROOT / "config.properties",
) -> int:
    """Run the server until it ends or a signal stops it; return the exit status.

    The status is 0 after a signal, 1 if the server fails or cannot start, which is
    logged, and 2 without arguments. Any other command than `serve` replaces this
    process, and does not return.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    environ = os.environ if environ is None else environ
    if not arguments:
        say("usage: serve | COMMAND [ARGUMENT ...]")
        return 2
    if list(arguments) != ["serve"]:
        os.execvpe(arguments[0], list(arguments), dict(environ))
    # The kernel drops these signals for process 1 unless it has handlers, so install
    # them first.
    stops = StopRequests()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stops.add())
    output = EventWriter(say)
    try:
        settings = read_environment(environ, memory_limit_bytes())
        return _serve(settings, environ, config, output, stops)
    except (VariableError, JavaNotFoundError, PluginError, OSError) as error:
        output.write_event("stop", logging.ERROR, reason=str(error))
        return 1


def _serve(
    settings: ContainerSettings,
    environ: Mapping[str, str],
    config: Path,
    output: EventWriter,
    stops: StopRequests,
) -> int:
    plugin = find_plugin()
    archive = ROOT / "model-store" / f"{MODEL_NAME}.mar"
    user = _choose_user(settings.uid, environ, output)
    output.write_event(
        "start",
        version=handler.__version__,
        revision=environ.get("SOURCE_REVISION"),
        use=settings.use,
        port=settings.port,
        uid=os.geteuid() if user is None else user,
        heap_mb=settings.heap_mb,
        drain_seconds=settings.drain_seconds,
    )
    temporary = Path(tempfile.gettempdir())
    remove_leftovers(STORE_PREFIX, temporary)
    with contextlib.closing(LockedFolder(STORE_PREFIX, temporary)) as folder:
        store = folder.path
        store.chmod(0o755)
        configure_archive(archive, store, settings.model_config)
        ports = {} if settings.has_fixed_ports else find_private_addresses()
        with TorchServe(
            config=config,
            overrides={**settings.properties, **ports, "model_store": str(store)},
            environ={
                **settings.handler,
                # The container may have a read-only file system: only the temporary
                # directory is certainly writable.
                "CHANDRA_CACHE_DIR": str(temporary / "weights"),
                "HF_HOME": str(temporary / "huggingface"),
                **environ,
                "HOME": str(temporary),
            },
            write_line=output.write_line,
            plugin=plugin,
            user=user,
        ) as server:

            def sleep(seconds: float) -> None:
                time.sleep(seconds)
                if os.getpid() == 1:
                    reap_orphans(server.own_pids)

            supervisor = Supervisor(
                server, output, stops, settings.drain_seconds, sleep=sleep
            )
            return supervisor.run()


def _choose_user(
    uid: int | None, environ: Mapping[str, str], output: EventWriter
) -> int | None:
    """Return the user id for TorchServe; None keeps the current user.

    Log if the current user is kept because `uid` cannot read the weights.
    """
    if uid is None or not can_switch_user():
        return None
    folder = Path(environ.get("MODEL_DIR") or SAGEMAKER_MODEL_DIR)
    if (path := find_unreadable_path(folder, uid)) is not None:
        output.write_event(
            "running as root", why=f"{path} is readable by its owner only"
        )
        return None
    return uid


if __name__ == "__main__":
    sys.exit(main())
