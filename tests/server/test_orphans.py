"""Reaping of orphaned processes by the first process of a container."""

from __future__ import annotations

import subprocess
import sys

REAP_SCRIPT = """
import os, subprocess, time
from server.host import reap_orphans

def ended(process):
    with open(f"/proc/{process.pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"

other = subprocess.Popen(["true"])
while not ended(other):
    time.sleep(0.01)
own = subprocess.Popen(["false"])
while not ended(own):
    time.sleep(0.01)
reap_orphans({own.pid})
assert not os.path.exists(f"/proc/{other.pid}"), "not reaped"
assert own.wait() == 1, "the status of our own is lost"
reap_orphans(set())
"""


def test_orphan_is_reaped_and_own_child_keeps_its_status():
    # Use a new process, because pytest's process has children of other tests.
    subprocess.run([sys.executable, "-c", REAP_SCRIPT], check=True, timeout=30)
