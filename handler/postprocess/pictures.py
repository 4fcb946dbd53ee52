"""Put pictures into a page's Markdown and HTML as data URLs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from html import escape

from handler.postprocess.markup import Element, Node
from handler.schema import PageContent

__all__ = ["Illustrated", "illustrate", "in_html", "renamed"]

# Only in a tag: an attribute has its quotes escaped, and text its brackets.
_SOURCE = re.compile(r'(?<=<img src=")page-\d+-figure-\d+\.webp(?=")')
_PAGE = re.compile(r"page-\d+-(?=figure-)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Illustrated:
    """A page's content with its pictures in it."""

    content: PageContent
    num_bytes: int
    """Size of the data URLs, each counted once."""
    num_left_out: int
    """Pictures that would have exceeded the limit; they go by their names."""


def renamed(nodes: Iterable[Node], number: int) -> list[Node]:
    """Return the nodes with pictures called by `number` in place of their page's.

    With a random number, no text of the page can be taken for a picture's name.
    """
    found: list[Node] = []
    for node in nodes:
        if isinstance(node, str):
            found.append(node)
            continue
        attrs = node.attrs
        if node.tag == "img" and "src" in attrs:
            attrs = {**attrs, "src": _numbered(attrs["src"], number)}
        found.append(Element(node.tag, attrs, renamed(node.children, number)))
    return found


def illustrate(
    content: PageContent,
    images: Mapping[str, str],
    *,
    markdown_number: int,
    max_bytes: int,
) -> Illustrated:
    """Replace the names of pictures in Markdown and HTML by data URLs.

    `images` has base64 of WebP by name. Markdown calls pictures by `markdown_number`,
    as `renamed` made it. Pictures are taken in their order, and those that would exceed
    `max_bytes` keep their names.
    """
    urls: dict[str, str] = {}
    num_bytes = num_left_out = 0
    markdown = content.markdown
    for name in content.figures:
        source = name
        if name in images:
            url = _data_url(images[name])
            if num_bytes + len(url) <= max_bytes:
                source = urls[name] = url
                num_bytes += len(url)
            else:
                num_left_out += 1
        markdown = markdown.replace(_numbered(name, markdown_number), source)
    html = _SOURCE.sub(lambda match: urls.get(match[0], match[0]), content.html)
    return Illustrated(
        replace(content, markdown=markdown, html=html), num_bytes, num_left_out
    )


def in_html(html: str, images: Mapping[str, str]) -> str:
    """Return clean HTML with data URLs in place of the names of pictures."""
    return _SOURCE.sub(
        lambda match: _data_url(images[match[0]]) if match[0] in images else match[0],
        html,
    )


def _numbered(name: str, number: int) -> str:
    """Return the name of a picture with another number for its page."""
    return _PAGE.sub(f"page-{number}-", name, count=1)


def _data_url(picture: str) -> str:
    return f"data:image/webp;base64,{escape(picture)}"
