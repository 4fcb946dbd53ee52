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
_PICTURE_SOURCE = re.compile(r'(?<=<img src=")page-\d+-figure-\d+\.webp(?=")')
_PAGE_NUMBER = re.compile(r"page-\d+-(?=figure-)", re.ASCII)


@dataclass(frozen=True, slots=True)
class IllustratedContent:
    """Content of a page with its pictures as data URLs."""

    content: PageContent
    num_bytes: int
    """Total size of the data URLs; each is counted once."""
    num_left_out: int
    """Number of pictures beyond the size limit, which are referred to by name."""


def rename_pictures(nodes: Iterable[Node], number: int) -> list[Node]:
    """Return copies of the nodes with another page number in the names of pictures.

    With a random number, no text of the page can equal the name of a picture.
    """
    renamed: list[Node] = []
    for node in nodes:
        if isinstance(node, str):
            renamed.append(node)
            continue
        attrs = node.attrs
        if node.tag == "img" and "src" in attrs:
            attrs = {**attrs, "src": _with_page_number(attrs["src"], number)}
        renamed.append(Element(node.tag, attrs, rename_pictures(node.children, number)))
    return renamed


def illustrate(
    content: PageContent,
    images: Mapping[str, str],
    *,
    markdown_number: int,
    max_bytes: int,
) -> IllustratedContent:
    """Return a page's content with data URLs for the names of its pictures.

    Markdown and HTML are changed; the blocks keep the names.

    `images` maps names to base64 of WebP. In `content.markdown` the names have
    `markdown_number` in place of the page's number, as `rename_pictures` writes them;
    the result has the page's number again. Pictures are inserted in their order. Those
    that would exceed `max_bytes` of data URLs in total, and those that `images` lacks,
    keep their names.
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
    html = _PICTURE_SOURCE.sub(lambda match: urls.get(match[0], match[0]), content.html)
    return IllustratedContent(
        replace(content, markdown=markdown, html=html), num_bytes, num_left_out
    )


def insert_pictures(html: str, images: Mapping[str, str]) -> str:
    """Return sanitised HTML with data URLs in place of the names of pictures.

    `images` maps names to base64 of WebP; names that it lacks are kept.
    """
    return _PICTURE_SOURCE.sub(
        lambda match: _data_url(images[match[0]]) if match[0] in images else match[0],
        html,
    )


def _with_page_number(name: str, number: int) -> str:
    """Return the name of a picture with another page number."""
    return _PAGE_NUMBER.sub(f"page-{number}-", name, count=1)


def _data_url(picture: str) -> str:
    return f"data:image/webp;base64,{escape(picture)}"
