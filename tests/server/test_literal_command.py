"""TorchServe's own command, as the README shows it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from handler.settings import PREFIX, VARIABLES
from server.archive import ROOT, build_archive
from server.host import find_free_addresses
from server.java import find_java_home
from server.torchserve import read_properties
from tests.server.processes import is_alive, list_family
from tests.waiting import until

README_COMMAND = re.compile(r"^\$ (torchserve .*)$", re.MULTILINE)
PAGE = (ROOT / "samples" / "page.png").read_bytes()


def readme_command(config: Path) -> list[str]:
    """Return the README's command with another configuration file."""
    [command_line] = README_COMMAND.findall((ROOT / "README.md").read_text())
    arguments = shlex.split(command_line)
    assert arguments[arguments.index("--ts-config") + 1] == "config.properties"
    arguments[arguments.index("--ts-config") + 1] = str(config)
    return arguments


@pytest.fixture
def address(tmp_path: Path) -> str:
    """Address of the server, from a copy of config.properties with free ports."""
    properties = read_properties(ROOT / "config.properties") | find_free_addresses()
    (tmp_path / "config.properties").write_text(
        "".join(f"{key}={value}\n" for key, value in properties.items())
    )
    return properties["inference_address"]


@pytest.fixture
def torchserve(tmp_path: Path, address: str) -> Iterator[subprocess.Popen[str]]:
    """Running command, in a session of its own as in a terminal."""
    build_archive(ROOT / "model-store")
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in VARIABLES and not name.startswith(PREFIX)
    }
    # `source .venv/bin/activate` sets the PATH in the same way.
    path_with_venv = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            readme_command(tmp_path / "config.properties"),
            cwd=ROOT,
            env={
                **environ,
                "PATH": path_with_venv,
                "JAVA_HOME": str(find_java_home(os.environ)),
                # Keep files out of the checkout, and separate from other servers'.
                "TMPDIR": str(tmp_path),
                "LOG_LOCATION": str(tmp_path),
                "METRICS_LOCATION": str(tmp_path),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def read_page(address: str) -> str | None:
    """Return the page's Markdown; None while the server does not listen."""
    try:
        answer = httpx.post(
            f"{address}/predictions/chandra",
            content=PAGE,
            headers={"Content-Type": "image/png", "Accept": "text/markdown"},
            timeout=120,
        )
    except httpx.ConnectError:
        return None
    assert answer.status_code == 200, answer.text
    return answer.text


def test_the_command_of_the_readme_reads_a_page_and_stops(torchserve, address):
    text = until(lambda: read_page(address), 60)
    assert text is not None
    processes = list_family(torchserve.pid)

    for expected in (
        "## Harrow Point Station",
        "One storm crossed the coast on the 19th. The mast was not damaged.",
        "- The rain gauge was cleaned.",
        "| Week | Mean | Rain | Gust |",
    ):
        assert expected in text
    ping = httpx.get(f"{address}/ping")
    assert ping.status_code == 200
    # Without our jar, which config.properties names, /ping would say "Healthy".
    assert ping.json()["status"] == "ready"

    # Ctrl-C in a terminal reaches every process of the group.
    os.killpg(torchserve.pid, signal.SIGINT)

    torchserve.wait(20)
    until(lambda: not any(is_alive(member.pid) for member in processes), 15)


@pytest.mark.slow
def test_killed_java_ends_worker_and_engine(torchserve, address):
    until(lambda: read_page(address), 60)
    processes = list_family(torchserve.pid)
    [java] = [member for member in processes if member.name() == "java"]
    assert len(psutil.Process(java.pid).children(recursive=True)) > 2

    java.kill()

    torchserve.wait(20)
    until(lambda: not any(is_alive(member.pid) for member in processes), 15)
