"""HTML sanitiser.

The model's output is untrusted, because a document can make the model write anything.
All HTML of a reply passes through `clean` or `clean_page`. They keep the tags and
attributes of the prompts, pictures cut out of the page, and links to http, https and
mailto. They remove styles, scripts and everything that loads by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import nh3

from handler.postprocess.html.vocabulary import (
    ATTRIBUTES,
    DROPPED_TAGS,
    GLOBAL_ATTRIBUTES,
    KEPT_TAGS,
)

__all__ = ["clean", "clean_page", "is_safe_link", "picture_name"]

_SCHEMES = frozenset({"http", "https", "mailto"})
_PICTURE_NAME = re.compile(r"page-\d+-figure-\d+\.webp", re.ASCII)
_PICTURE_DATA_URL = re.compile(r"data:image/webp;base64,[A-Za-z0-9+/]+={0,2}", re.ASCII)


def clean(html: str) -> str:
    """Return well-formed HTML without scripts, styles and pictures from elsewhere.

    Raises UnicodeEncodeError for text with lone surrogates.
    """
    return _CLEANER.clean(html)


def clean_page(html: str) -> str:
    """Sanitise a page's HTML as `clean` does, but keep boxes and pictures in data URLs.

    Lone surrogates, which nh3 rejects, become question marks.
    """
    return _PAGE_CLEANER.clean(html.encode("utf-8", "replace").decode())


def picture_name(page_number: int, figure_number: int) -> str:
    """Return the name of a picture cut out of a page; `clean` allows no other `src`."""
    return f"page-{page_number}-figure-{figure_number}.webp"


def is_safe_link(url: str) -> bool:
    """Return True if a link is relative or leads to http, https or mailto.

    The check is stricter than HTML needs: Markdown decodes character references and
    backslashes in links, where `javascript&colon;alert(1)` has a scheme.
    """
    start = re.split(r"[/?#]", url.strip(), maxsplit=1)[0]
    scheme, colon, _ = start.partition(":")
    if colon:
        return scheme.lower() in _SCHEMES
    return not re.search(r"[&\\]", start)


def _filter_attribute(tag: str, name: str, value: str) -> str | None:
    if name == "href" and not is_safe_link(value):
        return None
    if name == "src" and not _PICTURE_NAME.fullmatch(value):
        return None
    return value


def _filter_page_attribute(tag: str, name: str, value: str) -> str | None:
    if name == "src" and _PICTURE_DATA_URL.fullmatch(value):
        return value
    return _filter_attribute(tag, name, value)


def _make_cleaner(
    extra_attributes: Mapping[str, set[str]],
    attribute_filter: Callable[[str, str, str], str | None],
    schemes: frozenset[str],
) -> nh3.Cleaner:
    kept = {tag: set(names) for tag, names in ATTRIBUTES.items()}
    return nh3.Cleaner(
        tags=KEPT_TAGS,
        clean_content_tags=DROPPED_TAGS,
        attributes=kept | {"*": set(GLOBAL_ATTRIBUTES)} | dict(extra_attributes),
        attribute_filter=attribute_filter,
        url_schemes=schemes,
        # Form fields show what is on the page and are not for input.
        set_tag_attribute_values={"input": {"disabled": ""}},
    )


_CLEANER = _make_cleaner({}, _filter_attribute, _SCHEMES)
_PAGE_CLEANER = _make_cleaner(
    # The `data` scheme is for pictures only; `is_safe_link` rejects it in links.
    {"div": {"data-bbox", "data-label"}},
    _filter_page_attribute,
    _SCHEMES | {"data"},
)
