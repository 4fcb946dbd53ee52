"""One document through the endpoint, and what became of it."""

from __future__ import annotations

import io
import json
import threading
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer

import PIL.Image
import pytest

from deploy.aws import AWSClient
from deploy.cli import main
from deploy.commands.streaming import InOrder
from deploy.console import Console
from deploy.documents.document import media_type_of
from deploy.documents.pages import pictures_of
from deploy.documents.report import report_of
from tests import documents
from tests.deploy.conftest import session_of_ours
from tests.deploy.frames import broken_stream, stream_of

PAGE = {
    "page": 1,
    "status": "success",
    "width": 200,
    "height": 100,
    "markdown": "# Title",
    "html": "<h1>Title</h1>",
    "blocks": [
        {"label": "Title", "bbox": [20, 10, 120, 30], "html": "<h1>Title</h1>"},
        {"label": "Picture", "bbox": None, "html": '<img src="page-1-figure-1.webp">'},
    ],
    "images": {"page-1-figure-1.webp": "QUJD"},
    "raw": "",
    "finish_reason": "stop",
    "attempts": 1,
    "output_tokens": 5,
    "warnings": [],
    "error": None,
}
FAILED = {
    **PAGE,
    "page": 2,
    "status": "failure",
    "markdown": "",
    "blocks": [],
    "error": {"code": "unreadable_document", "detail": "page 2 ends early"},
}
DOCUMENT = {
    "request_id": "r",
    "status": "partial_success",
    "model": {"id": "mini", "revision": None, "engine": "generate"},
    "pages": [PAGE, FAILED],
    "markdown": "# Title",
    "processing_time": 1.5,
    "usage": {"pages": 2, "output_tokens": 5},
}
END = {"event": "end", **{k: v for k, v in DOCUMENT.items() if k != "pages"}}


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "page.png"
    PIL.Image.new("RGB", (200, 100), "white").save(path)
    return str(path)


@pytest.fixture
def answering(cloud):
    """What the endpoint answers, and what it was asked."""
    asked = []

    def answer(content, *, status="200 OK", headers=()):
        def invoked(environ, body):
            asked.append((environ, body))
            return status, list(headers), content

        cloud.invoked = invoked
        return asked

    return answer


def stream(answering, *chunks):
    headers = [("Content-Type", "application/vnd.amazon.eventstream")]
    return answering(stream_of(chunks), headers=headers)


def lines(*events):
    return "".join(json.dumps(event) + "\n" for event in events).encode()


def test_a_document_comes_back_as_markdown(chandra, answering, picture):
    asked = answering(b"# Title\n")

    ran = chandra("invoke", picture, "--pages", "1-3", "--max-output-tokens", "100")

    environ, body = asked[0]
    assert (ran.status, ran.out) == (0, "# Title\n")
    assert environ["PATH_INFO"] == "/endpoints/ocr/invocations"
    assert environ["CONTENT_TYPE"] == "image/png"
    assert environ["HTTP_ACCEPT"] == "text/markdown"
    assert environ["HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"] == (
        "pages=1-3;max_output_tokens=100"
    )
    assert body.startswith(b"\x89PNG")


def test_the_answer_can_go_to_a_file(chandra, answering, picture, tmp_path):
    answering(b"<!DOCTYPE html>")
    path = tmp_path / "out.html"

    ran = chandra("invoke", picture, "--format", "html", "-o", str(path))

    assert ran.status == 0
    assert path.read_text() == "<!DOCTYPE html>"


def test_a_page_that_failed_is_said_beside_the_others(chandra, answering, picture):
    answering(json.dumps(DOCUMENT).encode())

    ran = chandra("invoke", picture, "--format", "json")

    assert ran.status == 0
    assert json.loads(ran.out)["pages"][0]["markdown"] == "# Title"
    assert "page 2 was not read: page 2 ends early (unreadable_document)" in ran.err


def model_error(answering, status, message):
    body = {
        "Message": "Received client error (422) from primary with message …",
        "OriginalStatusCode": status,
        "OriginalMessage": message,
        "LogStreamArn": "arn:aws:logs:…",
    }
    answering(
        json.dumps(body).encode(),
        status="424 Failed Dependency",
        headers=[("x-amzn-ErrorType", "ModelError")],
    )


def test_a_model_error_is_unwrapped_to_the_problem_inside(chandra, answering, picture):
    problem = {"code": "invalid_option", "detail": "unknown option pgaes; did you mean "
               "pages?", "status": 422}  # fmt: skip
    model_error(answering, 422, json.dumps(problem))

    ran = chandra("invoke", picture)

    assert ran.status == 6
    assert "unknown option pgaes; did you mean pages? (invalid_option, 422)" in ran.err
    assert "primary" not in ran.err


def test_a_model_error_without_a_problem_is_told_as_it_is(chandra, answering, picture):
    model_error(answering, 413, "")

    ran = chandra("invoke", picture)

    assert "the container answered 413: nothing" in ran.err


@pytest.mark.parametrize("content", [b"<html>a proxy</html>", b"[]", b"\xff"])
def test_an_answer_that_is_no_document_is_said_to_be_none(
    chandra, answering, picture, content
):
    answering(content)

    ran = chandra("invoke", picture, "--format", "json")

    assert ran.status == 6
    assert "is no document" in ran.err


def test_no_answer_in_time_says_how_to_ask_for_less(chandra, answering, picture):
    model_error(answering, 0, "")

    ran = chandra("invoke", picture)

    assert "did not answer within SageMaker's 60 s" in ran.err
    assert "--pages" in ran.err


def test_a_document_that_is_sent_is_sent_once(chandra, answering, picture):
    asked = answering(b"oops", status="500 Internal Server Error")

    ran = chandra("invoke", picture)

    assert ran.status == 1
    assert len(asked) == 1


def test_an_endpoint_that_is_not_there_is_named(chandra, answering, picture):
    answering(
        json.dumps({"Message": "Endpoint ocr of account 1 not found."}).encode(),
        status="400 Bad Request",
        headers=[("x-amzn-ErrorType", "ValidationError")],
    )

    ran = chandra("invoke", picture)

    assert ran.status == 4
    assert "there is no endpoint ocr in service" in ran.err


def test_a_stream_is_shown_page_by_page(chandra, answering, picture):
    whole = lines({"event": "page", **PAGE}, {"event": "page", **FAILED}, END)
    # Cut where no line ends.
    stream(answering, whole[:50], whole[50:700], whole[700:])

    ran = chandra("invoke", picture, "--stream")

    assert ran.status == 0, ran.err
    assert "# Title" in ran.out
    assert "page 1: success" in ran.err
    assert "page 2 was not read" in ran.err


def test_a_stream_has_the_time_that_sagemaker_gives_it(
    chandra, answering, picture, wire
):
    """Eight minutes for the last page; the service's own deadline is a minute."""
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


def test_a_line_that_goes_dead_in_a_stream_is_no_bug(project, picture, tmp_path):
    with HTTPServer(("127.0.0.1", 0), Cut) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        out, err = io.StringIO(), io.StringIO()

        status = main(
            ["invoke", picture, "--stream", "--config", str(tmp_path / "chandra.toml")],
            console=Console(out=out, err=err),
            connect=lambda **_: AWSClient(session_of_ours(), endpoint_url=address),
        )

    assert status == 6, err.getvalue()
    assert "the stream broke off" in err.getvalue()
    assert "pages that came, shown above: 1" in err.getvalue()
    assert "# Title" in out.getvalue()


def test_a_stream_can_be_put_together_again(chandra, answering, picture):
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
def test_a_streams_markdown_has_the_order_of_the_document(
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


def test_a_page_is_shown_as_soon_as_those_before_it_are():
    in_order = InOrder("1-2,4")

    assert in_order.add(2, "two") == []
    assert in_order.add(1, "one") == ["one", "two"]
    assert in_order.add(4, "four") == ["four"]
    assert in_order.rest() == []


def test_pages_that_waited_for_one_that_never_came_are_shown(
    chandra, answering, picture
):
    stream(answering, lines(*numbered(3, 2)))

    ran = chandra("invoke", picture, "--stream")

    assert ran.status == 6
    assert ran.out.split() == ["P2", "P3"]
    assert "pages that came, shown above: 2" in ran.err


@pytest.mark.parametrize("pages", ["foo", "", "0", "3-1", "1-2,,3", "2-9"])
def test_pages_that_cannot_be_are_refused_before_anything_is_sent(
    chandra, answering, tmp_path, pages
):
    asked = answering(b"# Title")
    path = tmp_path / "three.pdf"
    path.write_bytes(documents.pdf([["one"], ["two"], ["three"]]))

    ran = chandra("invoke", str(path), "--pages", pages)

    assert (ran.status, asked) == (2, [])
    assert ran.err.startswith("error: --pages: ")
    assert "try:   --pages 1-3" in ran.err


def test_other_words_for_pages_that_are_there_are_sent_on(chandra, answering, tmp_path):
    asked = answering(b"# Title")
    path = tmp_path / "three.pdf"
    path.write_bytes(documents.pdf([["one"], ["two"], ["three"]]))

    ran = chandra("invoke", str(path), "--pages", " 3- , 1")

    assert ran.status == 0, ran.err
    environ, _ = asked[0]
    assert environ["HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"] == "pages=3-,1"


@pytest.mark.parametrize("output", ["missing/out.md", "."])
def test_nothing_is_read_that_could_not_be_written(
    chandra, answering, picture, tmp_path, output
):
    asked = answering(b"# Title")

    ran = chandra("invoke", picture, "-o", str(tmp_path / output))

    assert (ran.status, asked) == (2, [])
    assert "--output with a path" in ran.err


def test_a_report_without_pictures_is_better_than_none(chandra, answering, tmp_path):
    answering(json.dumps(DOCUMENT).encode())
    undrawable = tmp_path / "page.png"
    undrawable.write_bytes(b"\x89PNG\r\n\x1a\n")

    ran = chandra("invoke", str(undrawable), "--format", "report")

    assert ran.status == 0, ran.err
    assert "the report shows the text alone" in ran.err
    assert "<h1>page.png</h1>" in ran.out


def test_a_stream_without_its_last_line_is_no_success(chandra, answering, picture):
    stream(answering, lines({"event": "page", **PAGE}))

    ran = chandra("invoke", picture, "--stream")

    assert ran.status == 6
    assert "ended after 1 pages" in ran.err


def test_a_stream_that_breaks_off_says_why(chandra, answering, picture):
    answering(
        broken_stream([lines({"event": "page", **PAGE})], "took too long"),
        headers=[("Content-Type", "application/vnd.amazon.eventstream")],
    )

    ran = chandra("invoke", picture, "--stream")

    assert ran.status == 6
    assert "broke off: took too long" in ran.err


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
def test_a_stream_of_something_else_is_said_to_be_none(
    chandra, answering, picture, content
):
    stream(answering, content)

    ran = chandra("invoke", picture, "--stream")

    assert ran.status == 6
    assert "is no stream of pages" in ran.err
    assert "the same command without --stream" in ran.err


def test_a_page_without_a_number_makes_no_report(chandra, answering, picture):
    answering(json.dumps({"pages": [{"markdown": "x"}]}).encode())

    ran = chandra("invoke", picture, "--format", "report")

    assert ran.status == 6
    assert "is no document" in ran.err


@pytest.mark.parametrize("form", ["md", "ndjson"])
def test_pages_that_came_before_a_stream_broke_off_are_in_the_file(
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


def test_a_stream_into_a_file_is_whole_at_the_end(
    chandra, answering, picture, tmp_path
):
    whole = lines({"event": "page", **PAGE}, {"event": "page", **FAILED}, END)
    stream(answering, whole)
    path = tmp_path / "out.ndjson"

    ran = chandra("invoke", picture, "--stream", "--format", "ndjson", "-o", str(path))

    assert ran.status == 0, ran.err
    assert path.read_bytes() == whole


@pytest.mark.parametrize("arguments", [[], ["--stream"]])
def test_ctrl_c_says_what_became_of_the_document(
    chandra, wire, picture, monkeypatch, arguments
):
    def interrupted(**_):
        raise KeyboardInterrupt

    runtime = wire.client("sagemaker-runtime")
    streaming = wire.client("sagemaker-runtime", is_streaming=True)
    monkeypatch.setattr(runtime, "invoke_endpoint", interrupted)
    monkeypatch.setattr(streaming, "invoke_endpoint_with_response_stream", interrupted)

    ran = chandra("invoke", picture, *arguments)

    assert ran.status == 130
    assert "endpoint ocr may read on what it was sent; nothing was written" in ran.err


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["nowhere.pdf"], 4, "try:   chandra-sagemaker invoke FILE, with the path"),
        (["PICTURE", "--stream", "--format", "html"], 2, "not html"),
        (["PICTURE", "--pages", "1\r\nX: y"], 2, "must be plain text"),
        (["PICTURE", "--max-output-tokens", "0"], 2, "a whole number above 0, not 0"),
        (["EMPTY"], 2, "is empty"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    chandra, answering, picture, tmp_path, arguments, status, sentence
):
    asked = answering(b"# Title")
    (tmp_path / "empty.png").touch()
    places = {"PICTURE": picture, "EMPTY": str(tmp_path / "empty.png")}

    ran = chandra("invoke", *[places.get(a, a) for a in arguments])

    assert asked == []

    assert ran.status == status
    assert sentence in ran.err


def test_more_than_sagemaker_takes_is_refused_here(chandra, tmp_path):
    path = tmp_path / "large.pdf"
    path.write_bytes(b"%PDF" + bytes(26_000_000))

    ran = chandra("invoke", str(path))

    assert ran.status == 2
    assert "SageMaker takes 25 MB" in ran.err


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def of(self, tag, **wanted):
        return [
            attributes
            for name, attributes in self.found
            if name == tag
            and all(attributes.get(k.rstrip("_")) == v for k, v in wanted.items())
        ]


def test_a_report_shows_each_page_with_its_blocks_beside_the_text(
    chandra, answering, picture, tmp_path
):
    answering(json.dumps(DOCUMENT).encode())
    path = tmp_path / "report.html"

    ran = chandra("invoke", picture, "--format", "report", "-o", str(path))

    page = Elements(path.read_text())
    assert ran.status == 0, ran.err
    assert page.of("img", alt="page 1")[0]["src"].startswith("data:image/jpeg;base64,")
    (box,) = page.of("a", class_="box")
    assert "left:10.000%;top:10.000%;width:50.000%;height:20.000%" in box["style"]
    assert [block["id"] for block in page.of("div", class_="block")] == [
        "block-1-1",
        "block-1-2",
    ]
    assert "unreadable_document: page 2 ends early" in path.read_text()


def test_a_report_leads_to_every_page_and_marks_those_that_were_not_read():
    text = report_of("page.png", DOCUMENT, {})

    page = Elements(text)
    links = [a for tag, a in page.found if tag == "a" and a["href"][:6] == "#page-"]
    assert [(a["href"], a.get("class")) for a in links] == [
        ("#page-1", None),
        ("#page-2", "wrong"),
    ]
    assert {"page-1", "page-2"} == {s["id"] for s in page.of("section")}
    assert "1 of 2 pages read" in text


def test_a_report_needs_nothing_but_itself():
    text = report_of("page.png", DOCUMENT, {1: b"jpeg"})

    page = Elements(text)
    addresses = [
        a.get("src") or a.get("href") or ""
        for tag, a in page.found
        if tag in ("a", "img", "link", "script", "iframe")
    ]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert page.of("script") == []
    assert "data:image/webp;base64,QUJD" in text


def test_a_report_lets_nothing_of_the_document_run():
    hostile = {
        **PAGE,
        "blocks": [{"label": '"><script>', "bbox": [0, 0, 1, 1], "html": "x"}],
        "warnings": [{"code": "<b>", "detail": "<script>"}],
    }

    text = report_of("<script>.pdf", {**DOCUMENT, "pages": [hostile]}, {})

    assert Elements(text).of("script") == []
    assert "default-src 'none'" in text


def test_pages_of_a_pdf_are_drawn_by_number(tmp_path):
    path = tmp_path / "three.pdf"
    path.write_bytes(documents.pdf([["one"], ["two"], ["three"]]))

    pictures = pictures_of(path, [1, 3, 9])

    assert pictures.keys() == {1, 3}
    assert max(PIL.Image.open(io.BytesIO(pictures[1])).size) == 1600


def test_a_picture_lies_as_a_person_would_turn_it(tmp_path):
    path = tmp_path / "turned.jpg"
    picture = PIL.Image.new("RGB", (200, 100))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)

    drawn = PIL.Image.open(io.BytesIO(pictures_of(path, [1])[1]))

    assert drawn.size == (100, 200)


def test_what_is_transparent_is_drawn_on_white_paper(tmp_path):
    path = tmp_path / "clear.png"
    PIL.Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(path)

    drawn = PIL.Image.open(io.BytesIO(pictures_of(path, [1])[1]))

    assert drawn.getpixel((5, 5)) == (255, 255, 255)


def test_a_type_goes_by_the_files_name(tmp_path):
    assert media_type_of(tmp_path / "a.PDF") == "application/pdf"
    assert media_type_of(tmp_path / "a") == "application/octet-stream"
