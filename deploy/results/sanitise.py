"""Sanitising of an answer's HTML before it is written to a report or a file.

The service cleans its HTML. Pages for browsers do not rely on that, because the answer
may come from another service or from a modified file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from deploy.errors import ConfigError

__all__ = ["POLICY", "cleaner_of"]

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
"""Content-Security-Policy of the HTML files that this package writes."""


def _names(words: str) -> set[str]:
    return set(words.split())


TAGS = _names(
    """
    a b bdi bdo big blockquote br caption chem code del div h1 h2 h3 h4 h5 h6 hr i img
    input li math ol p pre q rp rt ruby small span strong sub sup table tbody td th
    thead tr u ul
    """
)
ATTRIBUTES = {
    "*": {"align", "class", "dir"},
    "a": {"href"},
    "div": {"data-bbox", "data-label"},
    "img": {"alt", "src"},
    "input": {"checked", "disabled", "type", "value"},
    "li": {"value"},
    "math": {"display"},
    "ol": {"reversed", "start", "type"},
    "table": {"border"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}
DROPPED = {"script", "style", "svg", "template"}
SCHEMES = {"http", "https", "mailto", "data"}
"""URL schemes of links and pictures; only pictures may be data URLs."""
INPUT_TYPES = frozenset({"checkbox", "radio", "text"})
# Other classes could take on styles of the surrounding page.
CLASS = re.compile(r"block|mermaid|(?:language|lang)-[\w+#-]{1,20}", re.ASCII)
PICTURE = re.compile(r"[\w-]+\.(?P<kind>webp|png|jpeg)", re.ASCII)
BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)
DATA_URL = re.compile(
    rf"data:image/(?:webp|png|jpeg);base64,{BASE64.pattern}", re.ASCII
)
# Browsers ignore these characters in the scheme of a URL.
IGNORED = re.compile(r"[\x00-\x20]+")


def cleaner_of(page: Mapping[str, Any]) -> Callable[[str], str]:
    """Return a function that cleans the HTML of one page of an answer.

    Tags and attributes that are not in the lists of this module are removed. `images`
    of the page has pictures as base64 by name, and they replace their names in the
    HTML. Pictures with a data URL stay; the addresses of others are removed. Raises
    ConfigError if nh3 is not installed.
    """
    images = page.get("images")
    pictures = images if isinstance(images, Mapping) else {}
    try:
        import nh3
    except ImportError as error:
        raise ConfigError(
            "writing HTML needs nh3", hint="pip install '.[deploy]'"
        ) from error
    cleaner = nh3.Cleaner(
        tags=TAGS,
        clean_content_tags=DROPPED,
        attributes=ATTRIBUTES,
        attribute_filter=partial(_filter_attribute, pictures),
        url_schemes=SCHEMES,
        set_tag_attribute_values={"input": {"disabled": ""}},
    )
    # nh3 rejects lone surrogates, which JSON can contain.
    return lambda html: cleaner.clean(html.encode("utf-8", "replace").decode())


def _filter_attribute(
    pictures: Mapping[str, object], tag: str, name: str, value: str
) -> str | None:
    """Return the value that an attribute gets; None removes the attribute."""
    match name:
        case "src":
            if DATA_URL.fullmatch(value):
                return value
            return _data_url(value, pictures.get(value))
        case "href":
            is_data = IGNORED.sub("", value).lower().startswith("data:")
            return None if is_data else value
        case "class":
            return value if CLASS.fullmatch(value) else None
        case "type" if tag == "input":
            return value if value in INPUT_TYPES else "text"
    return value


def _data_url(name: str, content: object) -> str | None:
    """Return the data URL of a picture; None if its name or content is not valid."""
    picture = PICTURE.fullmatch(name)
    if picture is None or not isinstance(content, str) or not BASE64.fullmatch(content):
        return None
    return f"data:image/{picture['kind']};base64,{content}"
