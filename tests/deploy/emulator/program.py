"""Small program in place of the server, with a child process.

The document `die` ends it, and `sicken` makes it unhealthy. It responds to all other
documents with its process id, that of its child, and its environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Java also runs in a session of its own.
CHILD = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
)

IS_SICK = threading.Event()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_healthy = self.path == "/ping" and not IS_SICK.is_set()
        self.send_response(200 if is_healthy else 503)
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"die":
            os._exit(9)
        if body == b"sicken":
            IS_SICK.set()
        description = {
            "pid": os.getpid(),
            "child": CHILD.pid,
            "environ": dict(os.environ),
        }
        content = json.dumps(description).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


sys.stdout.write("a line of the container\n")
sys.stdout.flush()
port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
