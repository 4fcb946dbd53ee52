"""Commands behind `make serve`, `make demo` and `make archive`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from server.archive import ROOT
from server.host import find_free_addresses
from server.torchserve import read_properties
from tests.server.jre import create_jre
from tests.server.processes import is_alive, list_family
from tests.waiting import until


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Path of the repository's configuration with free ports."""
    properties = read_properties(ROOT / "config.properties") | find_free_addresses()
    path = tmp_path / "config.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    return path


def start_command(
    command: str, *arguments: str | Path, **environ: str
) -> subprocess.Popen[str]:
    """Start `python -m server COMMAND` with its output in one pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "server", command, *arguments],
        cwd=ROOT,
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_all_processes_of_serve(config, stop):
    with start_command("serve", "--config", config) as process:
        assert process.stdout is not None
        ready = next(line for line in process.stdout if line.startswith("ready: "))
        address = ready.split()[4].rstrip(",")
        pids = [member.pid for member in list_family(process.pid)]
        assert httpx.get(address.partition("/pred")[0] + "/ping").status_code == 200

        process.send_signal(stop)

        assert process.communicate(timeout=60)[0].endswith("stopped\n")
        assert process.returncode == 130
    until(lambda: not any(map(is_alive, pids)))


def test_serve_needs_a_jre_but_no_compiler(config, tmp_path):
    environ = create_jre(tmp_path / "jre")

    with start_command("serve", "--config", config, **environ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("ready: "))
        properties = read_properties(config)
        ping = httpx.get(f"{properties['inference_address']}/ping")
        description = httpx.get(
            f"{properties['management_address']}/models/chandra?customized=true"
        )
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    # TorchServe alone would answer Healthy, and 200.
    assert ping.json()["status"] == "ready"
    assert description.json()["code"] == "bad_request"


def test_serve_reports_a_model_that_cannot_be_loaded(config):
    with start_command(
        "serve", "--config", config, MODEL_DIR="/nonexistent/weights"
    ) as process:
        output, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert output.splitlines()[-1].startswith(
        "error: MODEL_DIR is /nonexistent/weights"
    )


def test_serve_reports_a_port_in_use(config):
    taken = read_properties(config)["inference_address"].rpartition(":")[2]
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(taken)))
        other.listen()
        with start_command("serve", "--config", config) as process:
            output, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert output.splitlines()[-1].startswith("error: ")


def test_serve_reports_a_temporary_path_that_is_too_long(config, tmp_path):
    long_folder = tmp_path / ("long" * 20)
    long_folder.mkdir()

    with start_command("serve", "--config", config, TMPDIR=str(long_folder)) as process:
        output, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert output.splitlines()[-1].endswith("set TMPDIR to a shorter one")
    assert list(long_folder.iterdir()) == []


@pytest.mark.slow
def test_second_server_on_the_same_ports_is_not_ready(config):
    with start_command("serve", "--config", config) as first:
        assert first.stdout is not None
        next(line for line in first.stdout if line.startswith("ready: "))

        with start_command("serve", "--config", config) as second:
            output, _ = second.communicate(timeout=60)

        assert second.returncode == 1
        assert "ready: " not in output
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)


def test_ctrl_c_before_the_server_is_ready_leaves_nothing_behind(config):
    with start_command("serve", "--config", config) as process:
        until(lambda: len(list_family(process.pid)) > 1)

        process.send_signal(signal.SIGINT)
        pids = [member.pid for member in list_family(process.pid)]

        assert process.communicate(timeout=60)[0].endswith("stopped\n")
    until(lambda: not any(map(is_alive, pids)))


def test_the_demo_reads_both_samples(config):
    with start_command("demo", "--config", config) as process:
        output, _ = process.communicate(timeout=120)

    assert process.returncode == 0
    assert "--- samples/page.png" in output
    assert "Harrow Point Station" in output
    assert "--- success: 1 page(s)" in output
    assert "--- samples/report.pdf" in output
    assert "--- success: 3 page(s)" in output
    assert output.endswith("stopped\n")


def test_archive_holds_only_entry_file_and_configuration(model_store):
    with zipfile.ZipFile(model_store / "chandra.mar") as archive:
        names = sorted(archive.namelist())

    assert names == ["MAR-INF/MANIFEST.json", "model-config.yaml", "service.py"]


def test_no_process_survives_a_killed_serve(config, short_folder):
    with start_command(
        "serve", "--config", config, TMPDIR=str(short_folder)
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("ready: "))
        processes = list_family(process.pid)
        names = {member.name().rstrip("3.1") for member in processes}
        assert {"java", "python"} <= names
        [link] = short_folder.glob("chandra-serve-*/state")
        folders = [link.parent, link.resolve()]

        process.kill()

        until(lambda: not any(is_alive(member.pid) for member in processes), 15)
    # The server's folders are removed too.
    until(lambda: not any(folder.exists() for folder in folders), 10)
