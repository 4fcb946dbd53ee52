"""HTML files written from an answer contain no active content."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any, TypeAlias

import pytest

from deploy.errors import ConfigError
from deploy.results.formats import ACCEPT
from deploy.results.parse import convert_result
from deploy.results.report import report_of
from deploy.results.sanitise import ATTRIBUTES, TAGS, cleaner_of
from handler.postprocess.html import vocabulary
from tests.deploy.invoke.answers import DOCUMENT, FAILED, PAGE

HOSTILE = (
    "\"><script>alert(1)</script><img src=http://evil.example/x onerror=alert(1)>'",
    "' onmouseover='alert(1)' style='background:url(http://evil.example)",
    "javascript:alert(1)",
    "</title></style><svg onload=alert(1)><base href=http://evil.example/>",
    '<form action="http://evil.example"><button formaction=x>a</button></form>',
    "--></section><meta http-equiv=refresh content=0;url=http://evil.example>",
    "{PAGE}{0}\ud800\x00\x85",
)
WARNING = {"code": "portfolio", "detail": "it holds other files"}
ANSWER: dict[str, Any] = {
    **DOCUMENT,
    "warnings": [WARNING],
    "pages": [{**PAGE, "warnings": [WARNING]}, FAILED],
}


Path: TypeAlias = tuple[str | int, ...]


def paths_of(value: object, path: Path = ()) -> Iterator[Path]:
    """Yield the path to each scalar value in JSON."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from paths_of(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths_of(inner, (*path, index))
    else:
        yield path


def with_value(path: Path, value: object) -> dict[str, Any]:
    """Return the answer with another value at one path."""
    changed = copy.deepcopy(ANSWER)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


class ActiveContentReader(HTMLParser):
    """Parser that collects active content and external references of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.active_parts: list[str] = []
        self.policies: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "meta" and "http-equiv" in values:
            self.policies.append(values["content"])
            if values["http-equiv"] != "Content-Security-Policy":
                self.active_parts.append(f"meta {values}")
        if tag in ("script", "svg", "base", "form", "button", "iframe", "object"):
            self.active_parts.append(tag)
        if values.get("class") == "box":
            # Only numbers, which the report itself writes.
            values.pop("style")
        if values.get("style", "").startswith("--ink:#"):
            values.pop("style")
        for name, value in values.items():
            is_internal = value.startswith(("#", "data:image/"))
            if name.startswith("on") or name in ("style", "srcset", "formaction"):
                self.active_parts.append(f"{tag} {name}")
            if name in ("src", "href") and not is_internal:
                self.active_parts.append(f"{name}={value}")


def write_report(answer: dict[str, Any]) -> str:
    return report_of("a.pdf", answer, {1: b"jpeg"})


def write_html(answer: dict[str, Any]) -> str:
    return convert_result(json.dumps(answer).encode(), ACCEPT["json"], "html").decode()


TEXTS = pytest.mark.parametrize(
    "hostile",
    HOSTILE,
    ids=["script", "attribute", "address", "base", "form", "refresh", "surrogate"],
)
WRITERS = pytest.mark.parametrize("write", [write_report, write_html])


def test_active_content_is_detected():
    source = "<script></script><p onclick=x><a href='http://a.example'><base href=x>"

    assert ActiveContentReader(source).active_parts == [
        "script",
        "p onclick",
        "href=http://a.example",
        "base",
        "href=x",
    ]


@WRITERS
@TEXTS
def test_hostile_value_in_any_field_is_escaped(write, hostile):
    # Neither a page's number nor an error, which is an object, can be a text.
    paths = [path for path in paths_of(ANSWER) if path[-1] not in ("page", "error")]
    for path in paths:
        text = write(with_value(path, hostile))

        assert (path, ActiveContentReader(text).active_parts) == (path, [])
        assert text.count("</section>") == 2


@WRITERS
@TEXTS
def test_hostile_page_number_is_refused(write, hostile):
    with pytest.raises((ValueError, ConfigError)):
        write(with_value(("pages", 0, "page"), hostile))


@WRITERS
@TEXTS
def test_hostile_picture_name_is_dropped(write, hostile):
    page = {
        **PAGE,
        "html": f'<img src="{hostile}"><img src="a.{hostile}">',
        "blocks": [{"label": "x", "bbox": None, "html": f"<img src='{hostile}'>"}],
        "images": {hostile: "QUJD", f"a.{hostile}": "QUJD", "a.svg": "QUJD"},
    }

    assert ActiveContentReader(write({**ANSWER, "pages": [page]})).active_parts == []


def test_hostile_file_name_is_escaped():
    for hostile in HOSTILE:
        assert ActiveContentReader(report_of(hostile, ANSWER, {})).active_parts == []


@WRITERS
def test_html_forbids_base_address_and_forms(
    write: Callable[[dict[str, Any]], str],
):
    (policy,) = ActiveContentReader(write(ANSWER)).policies

    assert "default-src 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "form-action 'none'" in policy


def test_cleaning_keeps_markup_of_service():
    page = {
        "images": {"page-1-figure-1.webp": "QUJD"},
    }
    html = (
        '<div class="block" data-label="Text" data-bbox="1 2 3 4"><h1>A <b>b</b></h1>'
        '<p align="center"><a href="https://a.example" rel="noopener noreferrer">x</a>'
        '<math display="block">x &lt; y</math><chem>C</chem></p>'
        '<pre><code class="language-c++">a</code></pre>'
        '<table border="1"><tbody><tr><td colspan="2">c</td></tr></tbody></table>'
        '<ol start="3"><li value="4">d</li></ol>'
        '<input type="checkbox" checked="" disabled=""></div>'
    )

    clean = cleaner_of(page)

    assert clean(html) == html
    assert clean('<img src="page-1-figure-1.webp" alt="a">') == (
        '<img src="data:image/webp;base64,QUJD" alt="a">'
    )
    assert clean('<img src="page-1-figure-2.webp" alt="a">') == '<img alt="a">'
    inside = '<img src="data:image/webp;base64,QUJD" alt="a">'
    assert clean(inside) == inside


@pytest.mark.parametrize(
    "source",
    [
        '<img src="data:image/svg+xml;base64,QUJD">',
        '<img src="data:image/webp;base64,QU JD&quot;">',
        '<a href="data:text/html,x">x</a>',
        '<a href=" DA&#9;TA:image/webp;base64,QUJD">x</a>',
        '<a href="&#1;data&colon;text/html,x">x</a>',
        '<a href="vbscript:x">x</a>',
    ],
)
def test_data_url_without_picture_is_dropped(source):
    cleaned = cleaner_of({})(source)

    assert "data" not in cleaned.lower()
    assert "script" not in cleaned


def test_text_directions_are_kept():
    html = '<p dir="rtl">a <bdo dir="ltr">b</bdo> <bdi>c</bdi></p>'

    assert cleaner_of({})(html) == html


def test_all_html_of_service_is_kept():
    missing = {
        tag: names - ATTRIBUTES.get(tag, set()) - ATTRIBUTES["*"]
        for tag, names in vocabulary.ATTRIBUTES.items()
    }

    assert vocabulary.KEPT_TAGS <= TAGS
    assert ATTRIBUTES["*"] >= vocabulary.GLOBAL_ATTRIBUTES
    assert {tag: names for tag, names in missing.items() if names} == {}
