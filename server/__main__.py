"""`python -m server archive | serve | demo`: what the Makefile calls."""

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
from server.demo import demo
from server.java import JavaNotFoundError
from server.plugin import PluginError, find_plugin
from server.torchserve import ServerFailedError, TorchServe


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m server", description=__doc__)
    parser.add_argument("command", choices=("archive", "serve", "demo"))
    parser.add_argument(
        "--config",
        type=Path,
        default=ROOT / "config.properties",
        help="another config.properties, for other ports",
    )
    options = parser.parse_args(arguments)
    # A terminal's Ctrl-C and a supervisor's TERM both mean: stop everything.
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
    """Stop, once: a second Ctrl-C would leave half of it running."""
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt


def _serve(config: Path) -> None:
    with TorchServe(config=config, line=say, plugin=find_plugin()) as server:
        server.wait_until_ready()
        say(f"ready: POST documents to {server.predictions}, Ctrl-C stops")
        server.wait()
    raise ServerFailedError("TorchServe ended by itself; the lines above say why")


def _demo(config: Path) -> None:
    started = time.monotonic()
    with TorchServe(config=config, line=_say_if_random, plugin=find_plugin()) as server:
        say(f"starting TorchServe on {server.address}")
        server.wait_until_ready()
        say(f"ready after {time.monotonic() - started:.1f} s")
        say()
        demo(server)
    say("stopped")


def _say_if_random(line: str) -> None:
    """Of all the server logs, what a reader of the demo must know."""
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
