"""`python -m server.container serve`: the first process of a container.

Everything it is told comes from the environment, as SageMaker does it. Any other
command is run in its place.
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
from server.environment import VariableError, Wanted, wanted_from
from server.folders import LockedFolder, remove_leftovers
from server.java import JavaNotFoundError
from server.orphans import bury_orphans
from server.output import Output
from server.plugin import PluginError, find_plugin
from server.ports import private_ports
from server.privileges import can_hand_over, unreadable
from server.supervisor import StopRequests, Supervisor
from server.torchserve import TorchServe

__all__ = ["main"]

STORE_PREFIX = "chandra-store-"


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path = ROOT / "config.properties",
) -> int:
    """Run the server until it ends or is asked to stop; its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    environ = os.environ if environ is None else environ
    if not arguments:
        say("usage: serve, or another command to run in its place")
        return 2
    if list(arguments) != ["serve"]:
        os.execvpe(arguments[0], list(arguments), dict(environ))
    # Before anything else: a first process without handlers ignores both.
    stops = StopRequests()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stops.add())
    output = Output(say)
    try:
        wanted = wanted_from(environ, memory_limit_bytes())
        return _serve(wanted, environ, config, output, stops)
    except (VariableError, JavaNotFoundError, PluginError, OSError) as error:
        output.event("stop", logging.ERROR, reason=str(error))
        return 1


def _serve(
    wanted: Wanted,
    environ: Mapping[str, str],
    config: Path,
    output: Output,
    stops: StopRequests,
) -> int:
    plugin = find_plugin()
    archive = ROOT / "model-store" / f"{MODEL_NAME}.mar"
    user = _user(wanted.uid, environ, output)
    output.event(
        "start",
        version=handler.__version__,
        revision=environ.get("SOURCE_REVISION"),
        use=wanted.use,
        port=wanted.port,
        uid=os.geteuid() if user is None else user,
        heap_mb=wanted.heap_mb,
        drain_seconds=wanted.drain_seconds,
    )
    temporary = Path(tempfile.gettempdir())
    remove_leftovers(STORE_PREFIX, temporary)
    with contextlib.closing(LockedFolder(STORE_PREFIX, temporary)) as folder:
        store = folder.path
        store.chmod(0o755)
        configure_archive(archive, store, wanted.model_config)
        ports = {} if wanted.has_fixed_ports else private_ports()
        with TorchServe(
            config=config,
            overrides={**wanted.properties, **ports, "model_store": str(store)},
            environ={
                **wanted.handler,
                # Nothing but the temporary directory can be written to.
                "CHANDRA_CACHE_DIR": str(temporary / "weights"),
                "HF_HOME": str(temporary / "huggingface"),
                **environ,
                "HOME": str(temporary),
            },
            line=output.line,
            plugin=plugin,
            user=user,
        ) as server:

            def sleep(seconds: float) -> None:
                time.sleep(seconds)
                if os.getpid() == 1:
                    bury_orphans(server.own_pids)

            supervisor = Supervisor(
                server, output, stops, wanted.drain_seconds, sleep=sleep
            )
            return supervisor.run()


def _user(uid: int | None, environ: Mapping[str, str], output: Output) -> int | None:
    """Whom TorchServe is run as; None: whoever we are."""
    if uid is None or not can_hand_over():
        return None
    folder = Path(environ.get("MODEL_DIR") or SAGEMAKER_MODEL_DIR)
    if (path := unreadable(folder, uid)) is not None:
        output.event("running as root", why=f"{path} is readable by its owner only")
        return None
    return uid


if __name__ == "__main__":
    sys.exit(main())
