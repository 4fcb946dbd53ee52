"""See HTML and Markdown as a program that shows them would.

Markdown is rendered by markdown-it with raw HTML on and its own check of links
off: the least careful reader a page of ours can meet.
"""

from __future__ import annotations

from html.parser import HTMLParser

from markdown_it import MarkdownIt

from handler.postprocess.vocabulary import KEPT_TAGS

SAFE_TAGS = KEPT_TAGS | {"em", "strong", "s", "p"}
SAFE_ATTRIBUTES = {
    "align", "alt", "border", "checked", "class", "colspan", "data-bbox", "data-label",
    "dir", "disabled", "display", "href", "rel", "reversed", "rowspan", "src", "start",
    "style", "type", "value",
}  # fmt: skip


def rendered(markdown: str) -> str:
    reader = MarkdownIt("commonmark", {"html": True})
    reader.enable(["table", "strikethrough"])
    reader.validateLink = lambda url: True  # type: ignore[method-assign]
    return str(reader.render(markdown))


class _Viewer(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text.append("\n" if tag == "br" else "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def seen(html: str) -> str:
    """The words, with white space as one space."""
    viewer = _Viewer()
    viewer.feed(html)
    viewer.close()
    return " ".join("".join(viewer.text).split())


def tags_in(html: str) -> list[tuple[str, dict[str, str | None]]]:
    viewer = _Viewer()
    viewer.feed(html)
    viewer.close()
    return viewer.tags


def dangers_in(html: str) -> list[str]:
    """Everything in HTML that could act, or reach out to the network by itself."""
    found = []
    for tag, attrs in tags_in(html):
        if tag not in SAFE_TAGS:
            found.append(f"<{tag}>")
        for name, value in attrs.items():
            target = (value or "").strip().lower()
            if name not in SAFE_ATTRIBUTES:
                found.append(f"{tag} {name}")
            # Only the alignment that Markdown's own tables write.
            if name == "style" and not target.startswith("text-align:"):
                found.append(f"style={target}")
            if name == "src" and not target.startswith("page-"):
                found.append(f"src={target}")
            scheme, colon, _ = target.partition(":")
            is_safe = scheme in ("http", "https", "mailto") or "/" in scheme
            if name == "href" and colon and not is_safe:
                found.append(f"href={target}")
    return found
