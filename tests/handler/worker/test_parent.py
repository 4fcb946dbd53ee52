"""End of the worker with its parent process."""

from __future__ import annotations

import subprocess
import sys

from tests.server.processes import is_alive
from tests.waiting import until

# A child with a thread that waits for ever, which Python would join at the end.
CHILD = """
import threading, time
from handler.worker.parent import exit_with_parent
exit_with_parent()
print("here", flush=True)
threading.Thread(target=time.sleep, args=(600,)).start()
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_child_ends_when_its_parent_is_killed():
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)

        parent.kill()

        until(lambda: not is_alive(child), 10)
