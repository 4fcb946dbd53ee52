"""Rendering of Markdown, and inspection of HTML, for the tests of this folder.

Markdown is rendered by markdown-it with raw HTML enabled and its link check disabled,
like the least careful reader that may show an answer.
"""

from __future__ import annotations

from html.parser import HTMLParser

from markdown_it import MarkdownIt

from handler.postprocess.html.vocabulary import KEPT_TAGS

SAFE_TAGS = KEPT_TAGS | {"em", "strong", "s", "p"}
SAFE_ATTRIBUTES = {
    "align", "alt", "border", "checked", "class", "colspan", "data-bbox", "data-label",
    "dir", "disabled", "display", "href", "rel", "reversed", "rowspan", "src", "start",
    "style", "type", "value",
}  # fmt: skip


def render_markdown(markdown: str) -> str:
    """Return Markdown as HTML, with raw HTML and links of any scheme."""
    reader = MarkdownIt("commonmark", {"html": True})
    reader.enable(["table", "strikethrough"])
    reader.validateLink = lambda url: True  # type: ignore[method-assign]
    return str(reader.render(markdown))


class _TagAndTextReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text.append("\n" if tag == "br" else "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def visible_text(html: str) -> str:
    """Return the text that a browser would show, with single spaces between words."""
    reader = _TagAndTextReader()
    reader.feed(html)
    reader.close()
    return " ".join("".join(reader.text).split())


def find_tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    """Return the start tags of HTML in order, with their attributes."""
    reader = _TagAndTextReader()
    reader.feed(html)
    reader.close()
    return reader.tags


def find_dangers(html: str) -> list[str]:
    """List the tags, attributes and URLs of HTML that may run or load something.

    The list is empty for safe HTML.
    """
    dangers = []
    for tag, attrs in find_tags(html):
        if tag not in SAFE_TAGS:
            dangers.append(f"<{tag}>")
        for name, value in attrs.items():
            target = (value or "").strip().lower()
            if name not in SAFE_ATTRIBUTES:
                dangers.append(f"{tag} {name}")
            # markdown-it writes the alignment of table cells as a style.
            if name == "style" and not target.startswith("text-align:"):
                dangers.append(f"style={target}")
            if name == "src" and not target.startswith("page-"):
                dangers.append(f"src={target}")
            scheme, colon, _ = target.partition(":")
            is_safe = scheme in ("http", "https", "mailto") or "/" in scheme
            if name == "href" and colon and not is_safe:
                dangers.append(f"href={target}")
    return dangers
