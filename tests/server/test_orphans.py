"""Processes that fall to a container's first process are buried, its own are not."""

from __future__ import annotations

import subprocess
import sys

BURY = """
import os, subprocess, time
from server.orphans import bury_orphans

def ended(process):
    with open(f"/proc/{process.pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"

other = subprocess.Popen(["true"])
while not ended(other):
    time.sleep(0.01)
own = subprocess.Popen(["false"])
while not ended(own):
    time.sleep(0.01)
bury_orphans({own.pid})
assert not os.path.exists(f"/proc/{other.pid}"), "not buried"
assert own.wait() == 1, "the status of our own is lost"
bury_orphans(set())
"""


def test_an_orphan_is_buried_and_the_status_of_our_own_is_kept():
    # In a process of its own: here are children of other tests.
    subprocess.run([sys.executable, "-c", BURY], check=True, timeout=30)
