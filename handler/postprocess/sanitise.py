"""Make HTML harmless.

What the model writes is what a stranger's document told it to write. Every piece
of HTML that leaves in a reply has been through `clean`: the tags and attributes of
the prompts, pictures of our own, links to http, https and mailto, no style, nothing
that runs or loads by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import nh3

from handler.postprocess.vocabulary import (
    ATTRIBUTES,
    DROPPED_TAGS,
    GLOBAL_ATTRIBUTES,
    KEPT_TAGS,
)

__all__ = ["clean", "clean_page", "is_safe_link", "picture_name"]

_SCHEMES = frozenset({"http", "https", "mailto"})
_PICTURE = re.compile(r"page-\d+-figure-\d+\.webp", re.ASCII)
_DATA_URL = re.compile(r"data:image/webp;base64,[A-Za-z0-9+/]+={0,2}", re.ASCII)


def clean(html: str) -> str:
    """The same HTML without anything that could act; well-formed."""
    return _CLEANER.clean(html)


def clean_page(html: str) -> str:
    """Clean a page, whose blocks keep their labels, boxes and data URLs.

    Characters that have no UTF-8, which nh3 refuses, become question marks.
    """
    return _PAGE_CLEANER.clean(html.encode("utf-8", "replace").decode())


def picture_name(page_number: int, figure_number: int) -> str:
    """What a picture cut out of a page is called, the only kind `clean` lets be."""
    return f"page-{page_number}-figure-{figure_number}.webp"


def is_safe_link(url: str) -> bool:
    """Whether a link leads to a page, to mail, or to something beside the document.

    Stricter than HTML needs. Markdown decodes references and backslashes in a link,
    so there `javascript&colon;alert(1)` has a scheme, and here it has none yet.
    """
    start = re.split(r"[/?#]", url.strip(), maxsplit=1)[0]
    scheme, colon, _ = start.partition(":")
    if colon:
        return scheme.lower() in _SCHEMES
    return not re.search(r"[&\\]", start)


def _attribute(tag: str, name: str, value: str) -> str | None:
    if name == "href" and not is_safe_link(value):
        return None
    if name == "src" and not _PICTURE.fullmatch(value):
        return None
    return value


def _page_attribute(tag: str, name: str, value: str) -> str | None:
    if name == "src" and _DATA_URL.fullmatch(value):
        return value
    return _attribute(tag, name, value)


def _cleaner(
    more: Mapping[str, set[str]],
    attribute: Callable[[str, str, str], str | None],
    schemes: frozenset[str],
) -> nh3.Cleaner:
    kept = {tag: set(names) for tag, names in ATTRIBUTES.items()}
    return nh3.Cleaner(
        tags=KEPT_TAGS,
        clean_content_tags=DROPPED_TAGS,
        attributes=kept | {"*": set(GLOBAL_ATTRIBUTES)} | dict(more),
        attribute_filter=attribute,
        url_schemes=schemes,
        # A checkbox on paper is not one to click.
        set_tag_attribute_values={"input": {"disabled": ""}},
    )


_CLEANER = _cleaner({}, _attribute, _SCHEMES)
_PAGE_CLEANER = _cleaner(
    # The schemes are those of pictures too; `is_safe_link` judges links.
    {"div": {"data-bbox", "data-label"}},
    _page_attribute,
    _SCHEMES | {"data"},
)
