"""A document read page by page: shown, put in order, broken off."""

from __future__ import annotations

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deploy.aws import AWSClient
from deploy.cli import main
from deploy.commands.invoke.streaming import PageBuffer
from deploy.console import Console
from tests.deploy.conftest import create_test_session
from tests.deploy.frames import broken_stream, stream_of
from tests.deploy.invoke.answers import END, FAILED, PAGE, lines


def stream(answering, *chunks):
    headers = [("Content-Type", "application/vnd.amazon.eventstream")]
    return answering(stream_of(chunks), headers=headers)


def test_a_stream_is_shown_page_by_page(chandra, answering, picture):
    whole = lines({"event": "page", **PAGE}, {"event": "page", **FAILED}, END)
    # Cut where no line ends.
    stream(answering, whole[:50], whole[50:700], whole[700:])

    ran = chandra("invoke", picture, "--stream")

    assert ran.status == 0, ran.err
    assert "# Title" in ran.out
    assert "page 1: success" in ran.err
    assert "page 2 was not read" in ran.err


def test_stream_may_take_eight_minutes(chandra, answering, picture, wire):
    """SageMaker allows eight minutes, and the default deadline is a minute."""
    asked = stream(answering, lines({"event": "page", **PAGE}, END))

    ran = chandra("invoke", picture, "--stream", "--pages", "1-40")

    assert ran.status == 0, ran.err
    assert asked[0][0]["HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"] == (
        "pages=1-40;deadline_seconds=470"
    )
    whole = wire.client("sagemaker-runtime").meta.config
    streamed = wire.client("sagemaker-runtime", is_streaming=True).meta.config
    assert (whole.read_timeout, streamed.read_timeout) == (70, 490)
    assert [c.retries["total_max_attempts"] for c in (whole, streamed)] == [1, 1]


class Cut(BaseHTTPRequestHandler):
    """Sends a page, announces more, and is gone."""

    def do_POST(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        content = stream_of([lines({"event": "page", **PAGE})])
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.write(b"ffff\r\nno more")

    def log_message(self, *_):
        pass


def test_lost_connection_during_a_stream_is_reported(project, picture, tmp_path):
    with HTTPServer(("127.0.0.1", 0), Cut) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        out, err = io.StringIO(), io.StringIO()

        status = main(
            ["invoke", picture, "--stream", "--config", str(tmp_path / "chandra.toml")],
            console=Console(out=out, err=err),
            connect=lambda **_: AWSClient(create_test_session(), endpoint_url=address),
        )

    assert status == 6, err.getvalue()
    assert "the stream ended early" in err.getvalue()
    assert "pages that came, shown above: 1" in err.getvalue()
    assert "# Title" in out.getvalue()


def test_stream_as_json_has_sorted_pages(chandra, answering, picture):
    second = {**PAGE, "page": 2}
    stream(
        answering, lines({"event": "page", **second}, {"event": "page", **PAGE}, END)
    )

    document = json.loads(
        chandra("invoke", picture, "--stream", "--format", "json").out
    )

    assert [page["page"] for page in document["pages"]] == [1, 2]
    assert document["status"] == "partial_success"
    assert "event" not in document


def numbered(*numbers):
    return [{"event": "page", **PAGE, "page": n, "markdown": f"P{n}"} for n in numbers]


@pytest.mark.parametrize(
    ("pages", "came"),
    [(None, (2, 3, 1, 4)), ("2-3,9,5-6", (9, 5, 3, 6, 2)), ("7-,3", (8, 3, 9, 7))],
)
@pytest.mark.parametrize("where", ["terminal", "file", "json"])
def test_markdown_of_a_stream_has_pages_in_document_order(
    chandra, answering, picture, tmp_path, pages, came, where
):
    stream(answering, lines(*numbered(*came), END))
    path = tmp_path / "out.md"
    flags = {"terminal": [], "file": ["-o", str(path)], "json": ["--json"]}[where]

    ran = chandra(
        "invoke", picture, "--stream", *(["--pages", pages] if pages else []), *flags
    )

    assert ran.status == 0, ran.err
    out = ran.json["content"] if where == "json" else ran.out
    text = path.read_text() if where == "file" else out
    assert text.split() == [f"P{n}" for n in sorted(came)]


def test_page_is_shown_after_all_pages_before_it():
    buffer = PageBuffer("1-2,4")

    assert buffer.add(2, "two") == []
    assert buffer.add(1, "one") == ["one", "two"]
    assert buffer.add(4, "four") == ["four"]
    assert buffer.drain() == []


def test_pages_behind_a_missing_one_are_shown_at_the_end(chandra, answering, picture):
    stream(answering, lines(*numbered(3, 2)))

    ran = chandra("invoke", picture, "--stream")

    assert ran.status == 6
    assert ran.out.split() == ["P2", "P3"]
    assert "pages that came, shown above: 2" in ran.err


def test_stream_without_its_last_line_is_an_error(chandra, answering, picture):
    stream(answering, lines({"event": "page", **PAGE}))

    ran = chandra("invoke", picture, "--stream")

    assert ran.status == 6
    assert "ended after 1 pages" in ran.err


def test_empty_stream_gives_no_hint_on_other_pages(chandra, answering, picture):
    stream(answering)

    ran = chandra("invoke", picture, "--stream")

    assert ran.status == 6
    assert "ended after 0 pages" in ran.err
    assert "try:   chandra-sagemaker logs --errors" in ran.err


def test_a_stream_that_breaks_off_says_why(chandra, answering, picture):
    answering(
        broken_stream([lines({"event": "page", **PAGE})], "took too long"),
        headers=[("Content-Type", "application/vnd.amazon.eventstream")],
    )

    ran = chandra("invoke", picture, "--stream")

    assert ran.status == 6
    assert "ended early: took too long" in ran.err


def test_a_stream_can_end_in_the_services_own_error(chandra, answering, picture):
    stream(
        answering,
        lines(
            {"event": "error", "code": "overloaded", "detail": "too many pages wait"}
        ),
    )

    ran = chandra("invoke", picture, "--stream")

    assert "too many pages wait (overloaded)" in ran.err


@pytest.mark.parametrize(
    "content",
    [
        b"<html>a proxy</html>",
        b"# Title\n\ntext",
        b"[1]\n",
        b'{"pages": []}',
        b'{"event": "page", "page": 1}\n',
        b'{"event": "page", "page": "x", "markdown": "", "status": "success"}\n',
        b"\xff\xfe\n",
    ],
)
def test_invalid_stream_is_reported(chandra, answering, picture, content):
    stream(answering, content)

    ran = chandra("invoke", picture, "--stream")

    assert ran.status == 6
    assert "is no stream of pages" in ran.err
    assert "the same command without --stream" in ran.err


@pytest.mark.parametrize("form", ["md", "ndjson"])
def test_broken_stream_keeps_its_pages_in_the_file(
    chandra, answering, picture, tmp_path, form
):
    stream(answering, lines({"event": "page", **PAGE}))
    path = tmp_path / "out"
    path.write_text("what was there before")

    ran = chandra("invoke", picture, "--stream", "--format", form, "-o", str(path))

    assert ran.status == 6
    assert "# Title" in path.read_text()
    assert "before" not in path.read_text()
    assert f"pages that came, in {path}: 1" in ran.err


def test_file_of_a_stream_equals_the_sent_bytes(chandra, answering, picture, tmp_path):
    whole = lines({"event": "page", **PAGE}, {"event": "page", **FAILED}, END)
    stream(answering, whole)
    path = tmp_path / "out.ndjson"

    ran = chandra("invoke", picture, "--stream", "--format", "ndjson", "-o", str(path))

    assert ran.status == 0, ran.err
    assert path.read_bytes() == whole
