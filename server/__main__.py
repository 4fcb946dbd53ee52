"""Commands of `python -m server`: archive, serve and demo.

The Makefile calls them.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from server.archive import ROOT, ArchiveError, build_archive
from server.console import say
from server.demo import run_demo
from server.java import JavaNotFoundError
from server.plugin import PluginError, find_plugin
from server.torchserve import ServerFailedError, TorchServe


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the model archive, run one command, and return its exit status.

    Install handlers for SIGINT and SIGTERM that stop the command.
    """
    parser = argparse.ArgumentParser(prog="python -m server", description=__doc__)
    parser.add_argument("command", choices=("archive", "serve", "demo"))
    parser.add_argument(
        "--config",
        type=Path,
        default=ROOT / "config.properties",
        help="TorchServe configuration (default: the repository's config.properties)",
    )
    options = parser.parse_args(arguments)
    # Ctrl-C in a terminal and SIGTERM from a supervisor both stop all processes.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        archive = build_archive(ROOT / "model-store")
        if options.command == "archive":
            say(f"wrote {_relative(archive)}")
        elif options.command == "serve":
            _serve(options.config)
        else:
            _demo(options.config)
    except (
        ServerFailedError,
        ArchiveError,
        JavaNotFoundError,
        PluginError,
    ) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130
    return 0


def _interrupt(number: int, frame: object) -> None:
    """Raise KeyboardInterrupt and ignore later signals.

    A second Ctrl-C would interrupt the shutdown and leave processes running.
    """
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt


def _serve(config: Path) -> None:
    with TorchServe(config=config, write_line=say, plugin=find_plugin()) as server:
        server.wait_until_ready()
        say(f"ready: POST documents to {server.predictions_url}, Ctrl-C stops")
        server.wait()
    raise ServerFailedError(
        "TorchServe has ended unexpectedly; its log lines above give the reason"
    )


def _demo(config: Path) -> None:
    started = time.monotonic()
    with TorchServe(
        config=config, write_line=_report_random_weights, plugin=find_plugin()
    ) as server:
        say(f"starting TorchServe on {server.address}")
        server.wait_until_ready()
        say(f"ready after {time.monotonic() - started:.1f} s")
        say()
        run_demo(server)
    say("stopped")


def _report_random_weights(line: str) -> None:
    """Tell the user if the log line says that the weights are random."""
    try:
        event = json.loads(line)
    except ValueError:
        return
    if isinstance(event, dict) and event.get("weights") == "random":
        say(
            "note: the embedded model's weights are random, so its text is noise; "
            "the demo shows that the pipeline runs"
        )


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
