"""Insertion of pictures into a page's Markdown and HTML as data URLs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from html import escape

from handler.postprocess.html.markup import Element, Node
from handler.schema import PageContent

__all__ = ["IllustratedContent", "illustrate", "insert_pictures", "rename_pictures"]

# Matches only in tags: quotes in attributes and brackets in text are escaped.
_SOURCE = re.compile(r'(?<=<img src=")page-\d+-figure-\d+\.webp(?=")')
_PAGE = re.compile(r"page-\d+-(?=figure-)", re.ASCII)


@dataclass(frozen=True, slots=True)
class IllustratedContent:
    """Content of a page with its pictures as data URLs."""

    content: PageContent
    num_bytes: int
    """Total size of the data URLs; each is counted once."""
    num_left_out: int
    """Number of pictures beyond the size limit, which are referred to by name."""


def rename_pictures(nodes: Iterable[Node], number: int) -> list[Node]:
    """Return the nodes with `number` in place of the page's in the names of pictures.

    With a random number, no text of the page can equal the name of a picture.
    """
    found: list[Node] = []
    for node in nodes:
        if isinstance(node, str):
            found.append(node)
            continue
        attrs = node.attrs
        if node.tag == "img" and "src" in attrs:
            attrs = {**attrs, "src": _with_page_number(attrs["src"], number)}
        found.append(Element(node.tag, attrs, rename_pictures(node.children, number)))
    return found


def illustrate(
    content: PageContent,
    images: Mapping[str, str],
    *,
    markdown_number: int,
    max_bytes: int,
) -> IllustratedContent:
    """Replace the names of pictures in Markdown and HTML by data URLs.

    `images` maps names to base64 of WebP. In `content.markdown` the names have
    `markdown_number` in place of the page's, as `rename_pictures` writes them. Pictures
    are inserted in their order; those that would exceed `max_bytes` keep their names.
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
        markdown = markdown.replace(_with_page_number(name, markdown_number), source)
    html = _SOURCE.sub(lambda match: urls.get(match[0], match[0]), content.html)
    return IllustratedContent(
        replace(content, markdown=markdown, html=html), num_bytes, num_left_out
    )


def insert_pictures(html: str, images: Mapping[str, str]) -> str:
    """Return sanitised HTML with data URLs in place of the names of pictures."""
    return _SOURCE.sub(
        lambda match: _data_url(images[match[0]]) if match[0] in images else match[0],
        html,
    )


def _with_page_number(name: str, number: int) -> str:
    """Return the name of a picture with another page number."""
    return _PAGE.sub(f"page-{number}-", name, count=1)


def _data_url(picture: str) -> str:
    return f"data:image/webp;base64,{escape(picture)}"
