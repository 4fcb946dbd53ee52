"""Tests of `invoke --stream`: order of pages, output and broken streams."""

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
from tests.deploy.invoke.answers import END, FAILED, PAGE, to_ndjson


def set_stream(set_answer, *chunks):
    """Set the response to an event stream of these chunks; return the requests."""
    headers = [("Content-Type", "application/vnd.amazon.eventstream")]
    return set_answer(stream_of(chunks), headers=headers)


def test_a_stream_is_shown_page_by_page(chandra, set_answer, picture):
    whole = to_ndjson({"event": "page", **PAGE}, {"event": "page", **FAILED}, END)
    # Cut where no line ends.
    set_stream(set_answer, whole[:50], whole[50:700], whole[700:])

    result = chandra("invoke", picture, "--stream")

    assert result.status == 0, result.err
    assert "# Title" in result.out
    assert "page 1: success" in result.err
    assert "page 2 was not read" in result.err


def test_stream_may_take_eight_minutes(chandra, set_answer, picture, wire):
    """SageMaker allows eight minutes, and the default deadline is a minute."""
    requests = set_stream(set_answer, to_ndjson({"event": "page", **PAGE}, END))

    result = chandra("invoke", picture, "--stream", "--pages", "1-40")

    assert result.status == 0, result.err
    assert requests[0][0]["HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"] == (
        "pages=1-40;deadline_seconds=470"
    )
    plain_config = wire.client("sagemaker-runtime").meta.config
    streaming_config = wire.client("sagemaker-runtime", is_streaming=True).meta.config
    assert (plain_config.read_timeout, streaming_config.read_timeout) == (70, 490)
    assert [
        c.retries["total_max_attempts"] for c in (plain_config, streaming_config)
    ] == [1, 1]


class TruncatingHandler(BaseHTTPRequestHandler):
    """Handler that sends a page, announces more, and closes the connection."""

    def do_POST(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        content = stream_of([to_ndjson({"event": "page", **PAGE})])
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.write(b"ffff\r\nno more")

    def log_message(self, *_):
        pass


def test_lost_connection_during_a_stream_is_reported(project, picture, tmp_path):
    with HTTPServer(("127.0.0.1", 0), TruncatingHandler) as server:
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
    assert "pages received, shown above: 1" in err.getvalue()
    assert "# Title" in out.getvalue()


def test_stream_as_json_has_sorted_pages(chandra, set_answer, picture):
    second = {**PAGE, "page": 2}
    set_stream(
        set_answer,
        to_ndjson({"event": "page", **second}, {"event": "page", **PAGE}, END),
    )

    document = json.loads(
        chandra("invoke", picture, "--stream", "--format", "json").out
    )

    assert [page["page"] for page in document["pages"]] == [1, 2]
    assert document["status"] == "partial_success"
    assert "event" not in document


def build_page_events(*numbers):
    return [{"event": "page", **PAGE, "page": n, "markdown": f"P{n}"} for n in numbers]


@pytest.mark.parametrize(
    ("pages", "sent_pages"),
    [(None, (2, 3, 1, 4)), ("2-3,9,5-6", (9, 5, 3, 6, 2)), ("7-,3", (8, 3, 9, 7))],
)
@pytest.mark.parametrize("where", ["terminal", "file", "json"])
def test_markdown_of_a_stream_has_pages_in_document_order(
    chandra, set_answer, picture, tmp_path, pages, sent_pages, where
):
    set_stream(set_answer, to_ndjson(*build_page_events(*sent_pages), END))
    path = tmp_path / "out.md"
    flags = {"terminal": [], "file": ["-o", str(path)], "json": ["--json"]}[where]

    result = chandra(
        "invoke", picture, "--stream", *(["--pages", pages] if pages else []), *flags
    )

    assert result.status == 0, result.err
    out = result.json["content"] if where == "json" else result.out
    text = path.read_text() if where == "file" else out
    assert text.split() == [f"P{n}" for n in sorted(sent_pages)]


def test_page_is_shown_after_all_pages_before_it():
    buffer = PageBuffer("1-2,4")

    assert buffer.add(2, "two") == []
    assert buffer.add(1, "one") == ["one", "two"]
    assert buffer.add(4, "four") == ["four"]
    assert buffer.drain() == []


def test_pages_behind_a_missing_one_are_shown_at_the_end(chandra, set_answer, picture):
    set_stream(set_answer, to_ndjson(*build_page_events(3, 2)))

    result = chandra("invoke", picture, "--stream")

    assert result.status == 6
    assert result.out.split() == ["P2", "P3"]
    assert "pages received, shown above: 2" in result.err


def test_stream_without_its_last_line_is_an_error(chandra, set_answer, picture):
    set_stream(set_answer, to_ndjson({"event": "page", **PAGE}))

    result = chandra("invoke", picture, "--stream")

    assert result.status == 6
    assert "ended after 1 pages" in result.err


def test_empty_stream_gives_no_hint_on_other_pages(chandra, set_answer, picture):
    set_stream(set_answer)

    result = chandra("invoke", picture, "--stream")

    assert result.status == 6
    assert "ended after 0 pages" in result.err
    assert "try:   chandra-sagemaker logs --errors" in result.err


def test_a_stream_that_breaks_off_says_why(chandra, set_answer, picture):
    set_answer(
        broken_stream([to_ndjson({"event": "page", **PAGE})], "took too long"),
        headers=[("Content-Type", "application/vnd.amazon.eventstream")],
    )

    result = chandra("invoke", picture, "--stream")

    assert result.status == 6
    assert "ended early: took too long" in result.err


def test_a_stream_can_end_in_the_services_own_error(chandra, set_answer, picture):
    set_stream(
        set_answer,
        to_ndjson(
            {"event": "error", "code": "overloaded", "detail": "too many pages wait"}
        ),
    )

    result = chandra("invoke", picture, "--stream")

    assert "too many pages wait (overloaded)" in result.err


@pytest.mark.parametrize(
    "content",
    [
        b"<html>a proxy</html>",
        b"# Title\n\ntext",
        b"[1]\n",
        b'{"pages": []}',
        b'{"event": "page", "page": 1}\n',
        b'{"event": "page", "page": "x", "markdown": "", "status": "success"}\n',
        b'{"event": "page", "page": "1", "markdown": "", "status": "success"}\n',
        b'{"event": "page", "page": 1, "markdown": null, "status": "success"}\n',
        b"\xff\xfe\n",
    ],
)
def test_invalid_stream_is_reported(chandra, set_answer, picture, content):
    set_stream(set_answer, content)

    result = chandra("invoke", picture, "--stream")

    assert result.status == 6
    assert "did not return a stream of pages" in result.err
    assert "the same command without --stream" in result.err


@pytest.mark.parametrize("form", ["md", "ndjson"])
def test_broken_stream_keeps_its_pages_in_the_file(
    chandra, set_answer, picture, tmp_path, form
):
    set_stream(set_answer, to_ndjson({"event": "page", **PAGE}))
    path = tmp_path / "out"
    path.write_text("what was there before")

    result = chandra("invoke", picture, "--stream", "--format", form, "-o", str(path))

    assert result.status == 6
    assert "# Title" in path.read_text()
    assert "before" not in path.read_text()
    assert f"pages received, in {path}: 1" in result.err


def test_file_of_a_stream_equals_the_sent_bytes(chandra, set_answer, picture, tmp_path):
    whole = to_ndjson({"event": "page", **PAGE}, {"event": "page", **FAILED}, END)
    set_stream(set_answer, whole)
    path = tmp_path / "out.ndjson"

    result = chandra(
        "invoke", picture, "--stream", "--format", "ndjson", "-o", str(path)
    )

    assert result.status == 0, result.err
    assert path.read_bytes() == whole
