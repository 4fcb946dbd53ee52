"""Operations that a compromised decoder might attempt, run in a confined process."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from handler.sandbox.wire import Descriptor
from handler.schema import DocumentInfo


def environment() -> dict[str, str]:
    return dict(os.environ)


def list_folder(path: str) -> list[str]:
    return [entry.name for entry in Path(path).iterdir()]


def read_file(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(100)


def write_file(path: str) -> None:
    Path(path).write_bytes(b"x")


def create_empty_file(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT))


def write_to(document: Descriptor) -> None:
    os.pwrite(document, b"x", 0)


def read_from(document: Descriptor) -> bytes:
    return os.pread(document, 100, 0)


def num_open_files() -> int:
    return sum(map(_is_open, range(256)))


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def open_many_files() -> None:
    """Open a hundred descriptors without closing one."""
    for _ in range(100):
        os.dup(0)


def connect_tcp(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=5)


def make_unix_socket() -> None:
    socket.socket(socket.AF_UNIX)


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def start_program() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def become_program() -> None:
    os.execv(sys.executable, [sys.executable, "-c", ""])


def signal_process(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


def signal_group() -> None:
    os.kill(0, signal.SIGCONT)


def redirect_signals(document: Descriptor, pid: int) -> None:
    fcntl.fcntl(document, fcntl.F_SETOWN, pid)


def trace_process(pid: int) -> None:
    system_call(101 if os.uname().machine == "x86_64" else 117, 16, pid, 0, 0)


def delete(path: str) -> None:
    Path(path).unlink()


def change_mode(path: str) -> None:
    Path(path).chmod(0o777)


def rename(path: str) -> None:
    Path(path).rename(f"{path}.new")


def raise_memory_limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)


def system_call(number: int, *arguments: int) -> None:
    """Make a system call, and raise OSError if it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    values = (ctypes.c_long(value) for value in arguments)
    if libc.syscall(ctypes.c_long(number), *values) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def print_line() -> None:
    for stream in (1, 2):
        os.write(stream, b"[PID]1\n")


def run_thread() -> int:
    """Start a thread, and return 1 after it has run."""
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(1))
    thread.start()
    thread.join()
    return len(results)


def limits() -> dict[str, int]:
    return {
        name: resource.getrlimit(getattr(resource, name))[1]
        for name in ("RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_AS")
    }


# Functions whose replies do not match their annotations.


def count_words() -> int:
    return _as_any("not a number")  # type: ignore[no-any-return]


def describe_document() -> DocumentInfo:
    return DocumentInfo("image/png", _as_any("7"))


def send_raw_reply(message: bytes, *, keep_running: bool) -> int:
    """Send `message` instead of a reply, then keep running or exit."""
    os.write(int(sys.argv[1]), message)
    if keep_running:
        signal.pause()
    os._exit(0)


def return_zeros(num_bytes: int) -> bytes:
    return bytes(num_bytes)


def return_argument(value: bytes) -> bytes:
    return value


def _as_any(value: Any) -> Any:
    return value
