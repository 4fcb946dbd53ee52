"""Sweep, which posts every file of a folder and counts the answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from bench.sweep import report
from bench.sweep.__main__ import main
from bench.sweep.files import choose_evenly, content_type_of, find_files
from bench.sweep.memory import MemoryWatch, find_server
from bench.sweep.post import DocumentPoster, PostOutcome
from tests import documents
from tests.bench.test_sweep_compare import PAGE, FixedRenderer

PARTIAL_DOCUMENT = {
    "status": "partial",
    "warnings": [{"code": "portfolio", "detail": ""}],
    "pages": [
        {
            "status": "success",
            "error": None,
            "warnings": [{"code": "truncated", "detail": ""}],
        },
        {
            "status": "error",
            "error": {"code": "unreadable_document"},
            "warnings": [],
        },
    ],
}


class PreparedServer(ThreadingHTTPServer):
    """Server that gives the prepared `answers` in order."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], object]] = []
        self.paths: list[str] = []
        self.types: list[str | None] = []
        super().__init__(("127.0.0.1", 0), _PreparedHandler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _PreparedHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, PreparedServer)
        self.rfile.read(int(self.headers["Content-Length"]))
        server.paths.append(self.path)
        server.types.append(self.headers["Content-Type"])
        status, headers, body = server.answers.pop(0)
        if status == 0:
            self.connection.close()
            return
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[PreparedServer]:
    with PreparedServer() as answers:
        thread = threading.Thread(target=answers.serve_forever, args=(0.01,))
        thread.start()
        yield answers
        answers.shutdown()
        thread.join()


@pytest.fixture
def post(server, tmp_path) -> Callable[..., PostOutcome]:
    """Function that posts a small PNG to the server with prepared answers."""

    def post_png(
        *answers: tuple[int, dict[str, str], object], **options: object
    ) -> PostOutcome:
        server.answers = list(answers)
        path = tmp_path / "a.png"
        path.write_bytes(documents.as_png(documents.quadrants()))
        return DocumentPoster(server.address, **options).post(path)  # type: ignore[arg-type]

    return post_png


def test_files_of_all_folders_are_found_but_hidden_ones(tmp_path):
    for name in ("b/c.pdf", "a.png", ".git/x", "b/.d"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()

    files = find_files(tmp_path)

    assert [str(path.relative_to(tmp_path)) for path in files] == ["a.png", "b/c.pdf"]


def test_file_in_place_of_a_folder_is_an_error(tmp_path):
    (tmp_path / "a").touch()

    with pytest.raises(NotADirectoryError):
        find_files(tmp_path / "a")


def test_limited_files_are_spread_over_the_list():
    files = [Path(str(number)) for number in range(10)]

    assert [int(path.name) for path in choose_evenly(files, 3)] == [0, 3, 6]
    assert choose_evenly(files, None) == choose_evenly(files, 11) == files


def test_content_type_follows_the_extension():
    assert content_type_of(Path("A.PDF")) == "application/pdf"
    assert content_type_of(Path("nothing")) is None


def test_an_answer_is_counted_by_pages_and_warnings(post, server):
    outcome = post((200, {}, PARTIAL_DOCUMENT), options={"max_output_tokens": "1"})

    assert (outcome.status, outcome.document) == (200, "partial")
    assert outcome.pages == ("success", "error")
    assert outcome.warnings == ("portfolio", "truncated")
    assert outcome.code == "unreadable_document"
    assert server.paths == ["/invocations?max_output_tokens=1"]
    assert server.types == ["image/png"]


def test_without_declared_types_all_are_bytes(post, server):
    post((200, {}, PARTIAL_DOCUMENT), declares_type=False)

    assert server.types == ["application/octet-stream"]


def test_overloaded_server_is_retried(post):
    pauses: list[float] = []
    overloaded = (503, {"Retry-After": "7"}, {"code": "overloaded"})

    outcome = post(
        overloaded, overloaded, (200, {}, PARTIAL_DOCUMENT), sleep=pauses.append
    )

    assert (outcome.status, outcome.num_retries, pauses) == (200, 2, [7.0, 7.0])


def test_retries_of_an_overloaded_server_are_limited(post):
    overloaded = (503, {"Retry-After": "1"}, {"code": "overloaded"})

    outcome = post(overloaded, overloaded, max_retries=1, sleep=lambda _: None)

    assert (outcome.status, outcome.code) == (503, "overloaded")
    assert outcome.is_server_fault


def test_a_rejected_document_is_no_fault_of_the_server(post):
    outcome = post((422, {}, {"code": "unreadable_document", "detail": "no"}))

    assert (outcome.code, outcome.detail) == ("unreadable_document", "no")
    assert not outcome.is_server_fault


def test_lost_connection_is_a_fault(post):
    outcome = post((0, {}, None))

    assert (outcome.status, outcome.code) == (None, "RemoteProtocolError")
    assert outcome.is_server_fault


def test_memory_is_that_of_the_largest_process_and_of_all():
    watch = MemoryWatch(None)

    watch.add([("decoder or writer", 3 << 20), ("decoder or writer", 5 << 20)])
    watch.add([("decoder or writer", 4 << 20)])

    assert watch.parts["decoder or writer"] == {
        "processes": 2,
        "largest": 5.0,
        "all": 8.0,
        "last": 4.0,
    }


def test_the_process_behind_a_port_is_found(server):
    assert find_server(server.server_port) == psutil.Process().pid


def test_outcomes_are_printed_with_faults_and_slowest(capsys):
    folder = Path("/documents")
    successful = PostOutcome(
        folder / "a.pdf", 10, 2.5, 200, document="success", pages=("ok",)
    )
    unanswered = PostOutcome(folder / "b.pdf", 10, 0.5, None, code="ReadError")

    report.print_outcomes([successful, unanswered], folder)

    printed = capsys.readouterr().out
    assert "1  lost ReadError" in printed
    assert "b.pdf: None ReadError" in printed
    assert "2.50  a.pdf (200 1 pages)" in printed


def test_sweep_without_a_server_suggests_make_serve(server, tmp_path, capsys):
    address = server.address
    server.server_close()

    status = main([str(tmp_path), "--address", address])

    assert status == 2
    assert "run make serve, or pass --serve" in capsys.readouterr().out


def test_pages_alone_are_compared_without_a_server(tmp_path, capsys):
    (tmp_path / "page.png").write_bytes(documents.as_png(PAGE))
    report_path = tmp_path.parent / f"{tmp_path.name}.json"

    status = main(
        [str(tmp_path), "--no-post", "--report", str(report_path)],
        renderers=[FixedRenderer(PAGE)],
    )

    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert status == 0
    assert (last["bench"], last["compared"]) == ("sweep", {"same": 1})
    [page] = json.loads(report_path.read_text())["pages"]
    assert page["kind"] == "same"


@pytest.mark.slow
def test_a_real_server_is_swept(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(documents.as_png(PAGE))
    (tmp_path / "b.pdf").write_bytes(documents.truncated_pdf())
    (tmp_path / "c.txt").write_text("text")

    status = main([str(tmp_path), "--serve"], renderers=[FixedRenderer(PAGE)])

    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert status == 0
    assert last["statuses"]["200"] == 1
    assert last["documents"] == {"success": 1}
    assert sum(last["statuses"].values()) == last["files"] == 3
    assert {"java", "worker", "engine", "decoder or writer"} <= set(last["megabytes"])
    assert last["compared"]["same"] == 1
