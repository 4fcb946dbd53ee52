"""Hugging Face hub on loopback with one model, for the real client library."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tests.checkpoints import tensor_file

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER_COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
CHECKPOINT = {
    "config.json": b'{"model_type": "qwen3_vl"}',
    "model.safetensors": tensor_file("weight", size=1000),
    "tokenizer.json": b"{}",
}
FILES = CHECKPOINT | {
    ".gitattributes": b"*.bin lfs",
    "README.md": b"# Read me",
    "pytorch_model.bin": b"\x00" * 10,
}
"""Files of the model."""


class HubHandler(BaseHTTPRequestHandler):
    """Request handler with the part of the hub's API that its client needs.

    `requests` has the method and path of every request to any hub of this process.
    """

    protocol_version = "HTTP/1.1"
    requests: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        self.requests.append(f"{self.command} {path}")
        model = "/api/models/acme/ocr"
        match path.removeprefix(model).split("/"):
            case [""] | ["", "revision", "main"]:
                self._send_json({"id": "acme/ocr", "sha": COMMIT, "siblings": []})
            case ["", "tree", commit] if len(commit) == len(COMMIT):
                self._send_json(
                    [
                        {"type": "file", "path": n, "size": len(c), "oid": f"{n}-oid"}
                        for n, c in FILES.items()
                    ]
                )
            case ["", "acme", "ocr", "resolve", commit, name] if name in FILES:
                head = {"ETag": f'"{name}-oid"', "X-Repo-Commit": commit}
                self._send(200, FILES[name], head)
            case ["", "revision", _]:
                self._send_json({}, 404, {"X-Error-Code": "RevisionNotFound"})
            case _:
                self._send_json({}, 404, {"X-Error-Code": "RepoNotFound"})

    def _send_json(
        self, value: object, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        head = {"Content-Type": "application/json", **(headers or {})}
        self._send(status, json.dumps(value).encode(), head)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Suppress the log."""


@contextmanager
def run_hub() -> Iterator[str]:
    """Run the hub and yield its address, for HF_ENDPOINT."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
