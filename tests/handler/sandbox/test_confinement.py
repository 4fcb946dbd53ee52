"""Tests that a confined process has no rights beyond reading a document."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from handler.processes.pool import Pool
from handler.sandbox.confinement import current_confinement
from handler.storage.spool import Spool
from tests.handler.sandbox import attempts
from tests.marks import needs_landlock, needs_seccomp

SECONDS = 60.0
DENIED = r"^PermissionError"
LIMIT = 2 * 1024**3


@pytest.fixture(scope="module")
def confined():
    """Function that calls its argument in a confined process."""
    pool = Pool(1, memory_bytes=LIMIT, modules=[attempts.__name__])
    yield lambda function, *args: pool.call(SECONDS, function, *args)
    pool.close()


@pytest.fixture
def document():
    spool = Spool(b"%PDF-1.7")
    yield spool
    spool.close()


@pytest.fixture
def bystander():
    """Id of a process of the same user outside the pool."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate()


def test_environment_has_no_secrets(monkeypatch):
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "HTTPS_PROXY", "ANY_OTHER"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    pool = Pool(1, modules=[attempts.__name__])

    environment = pool.call(SECONDS, attempts.environment)

    pool.close()
    assert "secret" not in environment.values()
    assert environment["LC_ALL"] == "C.UTF-8"
    assert environment["PATH"] == os.environ["PATH"]


def test_numpy_reserves_memory_for_one_thread(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "64")
    pool = Pool(1, modules=[attempts.__name__])

    environment = pool.call(SECONDS, attempts.environment)

    pool.close()
    assert environment["OPENBLAS_NUM_THREADS"] == "1"


@needs_landlock
@needs_seccomp
def test_all_measures_are_in_effect_on_this_kernel(confined):
    confinement = confined(current_confinement)

    assert confinement.has_no_new_privileges
    assert confinement.has_system_call_filter
    assert confinement.landlock > 0
    assert confinement.memory_bytes == LIMIT


def test_hard_resource_limits_are_set(confined):
    limits = confined(attempts.limits)

    assert limits["RLIMIT_CORE"] == limits["RLIMIT_FSIZE"] == 0
    assert limits["RLIMIT_NOFILE"] == 64
    assert limits["RLIMIT_AS"] == LIMIT


@needs_seccomp
def test_memory_limit_cannot_be_raised(confined):
    with pytest.raises(RuntimeError, match=r"not allowed to raise|Operation not perm"):
        confined(attempts.raise_memory_limit)


def test_number_of_open_files_is_limited():
    pool = Pool(1, modules=[attempts.__name__])

    with pytest.raises(RuntimeError, match="Too many open files"):
        pool.call(SECONDS, attempts.open_many_files)
    pool.close()


def test_document_can_be_read_but_not_written(confined, document):
    assert confined(attempts.read_from, document.read_only) == b"%PDF-1.7"
    with pytest.raises(RuntimeError, match="Bad file descriptor"):
        confined(attempts.write_to, document.read_only)


def test_document_is_closed_after_the_call(confined, document):
    before = confined(attempts.num_open_files)

    confined(attempts.read_from, document.read_only)
    with pytest.raises(RuntimeError):
        confined(attempts.write_to, document.read_only)

    assert confined(attempts.num_open_files) == before


@needs_landlock
def test_other_documents_cannot_be_opened(confined, document):
    with pytest.raises(RuntimeError, match=DENIED):
        confined(attempts.read_file, document.path)


@needs_landlock
@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", __file__])
def test_system_files_cannot_be_read(confined, path):
    with pytest.raises(RuntimeError, match=DENIED):
        confined(attempts.read_file, path)


@needs_landlock
def test_environment_of_the_parent_cannot_be_read(confined):
    with pytest.raises(RuntimeError, match=DENIED):
        confined(attempts.read_file, f"/proc/{os.getpid()}/environ")


@needs_landlock
@pytest.mark.parametrize("path", ["/", "/tmp", "/proc", "/root"])
def test_folders_cannot_be_listed(confined, path):
    with pytest.raises(RuntimeError, match=DENIED):
        confined(attempts.list_folder, path)


def test_code_of_the_interpreter_can_be_read(confined):
    assert confined(attempts.read_file, os.__file__)


@needs_seccomp
@pytest.mark.parametrize(
    "change",
    [
        attempts.write_file,
        attempts.create_empty_file,
        attempts.delete,
        attempts.change_mode,
        attempts.rename,
    ],
)
def test_files_cannot_be_changed(confined, tmp_path, change):
    path = tmp_path / "file"
    path.write_text("before")

    with pytest.raises(RuntimeError, match=DENIED):
        confined(change, str(path))

    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@needs_seccomp
def test_network_cannot_be_used(confined):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(RuntimeError, match=DENIED):
            confined(attempts.connect_tcp, port)
    with pytest.raises(RuntimeError, match=DENIED):
        confined(attempts.make_unix_socket)


@needs_seccomp
@pytest.mark.parametrize(
    "start", [attempts.fork, attempts.start_program, attempts.become_program]
)
def test_programs_cannot_be_started(confined, start):
    with pytest.raises(RuntimeError, match=r"^(PermissionError|BlockingIOError)"):
        confined(start)


@needs_seccomp
def test_other_processes_cannot_be_accessed(confined, bystander, document):
    for reach in (attempts.signal_process, attempts.trace_process):
        with pytest.raises(RuntimeError, match=DENIED):
            confined(reach, bystander)
    with pytest.raises(RuntimeError, match=DENIED):
        confined(attempts.signal_group)
    with pytest.raises(RuntimeError, match=DENIED):
        confined(attempts.redirect_signals, document.read_only, bystander)


@needs_seccomp
def test_unknown_system_calls_fail_with_enosys(confined):
    with pytest.raises(RuntimeError, match="Function not implemented"):
        confined(attempts.system_call, 470)


def test_output_of_a_confined_process_is_discarded(capfd):
    pool = Pool(1, modules=[attempts.__name__])

    pool.call(SECONDS, attempts.print_line)

    pool.close()
    assert "[PID]" not in "".join(capfd.readouterr())


@needs_seccomp
def test_threads_can_be_started(confined):
    assert confined(attempts.run_thread) == 1


@needs_seccomp
@pytest.mark.parametrize(
    "path", ["/etc/passwd", f"/proc/{os.getpid()}/environ"], ids=["passwd", "environ"]
)
def test_files_cannot_be_opened_without_landlock(path, document):
    modules = ["tests.handler.sandbox.without_landlock", attempts.__name__]
    pool = Pool(1, modules=modules)

    with pytest.raises(RuntimeError, match=DENIED):
        pool.call(SECONDS, attempts.read_file, path)
    assert pool.call(SECONDS, attempts.read_from, document.read_only) == b"%PDF-1.7"
    pool.close()


def test_process_runs_on_a_kernel_without_any_measure(monkeypatch):
    """Confinement on a kernel without Landlock and seccomp is simulated."""
    pool = Pool(1, modules=["tests.handler.sandbox.without_measures"])

    confinement = pool.call(SECONDS, current_confinement)

    pool.close()
    assert not confinement.has_system_call_filter
    assert confinement.landlock == 0
