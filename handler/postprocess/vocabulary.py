"""The HTML tags and attributes that a page may use.

The two Chandra prompts name the tags and attributes a model may use, and nothing
enforces them. Here every tag is one of five things: kept, rewritten or renamed to
one that is kept, dropped with all it holds, or dropped alone. A name HTML does not
know is no tag at all: `<none>` on a form is what the paper says.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "ATTRIBUTES",
    "BLOCK_TAGS",
    "DROPPED_TAGS",
    "GLOBAL_ATTRIBUTES",
    "JOINING_TAGS",
    "KEPT_TAGS",
    "KNOWN_TAGS",
    "LITERAL_TAGS",
    "RENAMED_TAGS",
    "REWRITTEN_TAGS",
    "VOID_TAGS",
]


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


# The tags of both prompts, and those without which a page would say something else.
KEPT_TAGS = _names(
    """
    a b bdi bdo big blockquote br caption chem code del div h1 h2 h3 h4 h5 h6 hr i img
    input li math ol p pre rp rt ruby small span strong sub sup table tbody td th thead
    tr u ul
    """
)

REWRITTEN_TAGS = _names("option q select")
"""Tags in the tree of `parse` that `tidy` rewrites with tags that are kept."""

BLOCK_TAGS = _names(
    """
    blockquote caption div h1 h2 h3 h4 h5 h6 hr li ol p pre table tbody td th thead tr
    ul
    """
)

VOID_TAGS = _names("br hr img input")

LITERAL_TAGS = frozenset({"math", "chem"})
"""LaTeX and SMILES: whatever is inside is text, `<` and `&` included."""

RENAMED_TAGS: Mapping[str, str] = {
    "em": "i",
    "cite": "i",
    "dfn": "i",
    "var": "i",
    "s": "del",
    "strike": "del",
    "ins": "u",
    "kbd": "code",
    "samp": "code",
    "tt": "code",
    "xmp": "pre",
    "listing": "pre",
    "article": "div",
    "aside": "div",
    "center": "div",
    "dl": "div",
    "fieldset": "div",
    "figure": "div",
    "footer": "div",
    "form": "div",
    "header": "div",
    "main": "div",
    "nav": "div",
    "section": "div",
    "dd": "p",
    "dt": "p",
    "figcaption": "p",
    "legend": "p",
    "dir": "ul",
    "menu": "ul",
    "tfoot": "tbody",
}

DROPPED_TAGS = _names("script style svg template")
"""Their content is not text of the page either."""

KNOWN_TAGS = (
    KEPT_TAGS
    | REWRITTEN_TAGS
    | RENAMED_TAGS.keys()
    | DROPPED_TAGS
    | _names(
        """
    abbr acronym address animate animatetransform annotation annotation-xml applet
    area audio base basefont bgsound blink body button canvas circle col
    colgroup data datalist defs desc details dialog ellipse embed feimage font
    foreignobject frame frameset g head hgroup html iframe image isindex keygen
    label layer line link maction malignmark map mark marquee mask menclose merror
    meta meter mfenced mfrac mglyph mi mmultiscripts mn mo mover mpadded mphantom
    mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder
    munderover nobr noembed noframes noscript object optgroup output param
    path pattern picture plaintext polygon polyline progress rb rect rtc
    search semantics set slot source stop summary symbol text textarea
    textpath think time title track tspan use video view wbr
    """
    )
)

JOINING_TAGS = _names(
    """
    abbr acronym blink data font label mark nobr rb rtc think time wbr
    """
)
"""Dropped without a trace; other unwanted tags leave a space between words."""

GLOBAL_ATTRIBUTES = frozenset({"class", "align", "dir"})

# No `style`: it can cover the page it is shown on, and no reader of ours needs it.
ATTRIBUTES: Mapping[str, frozenset[str]] = {
    "a": frozenset({"href"}),
    "div": frozenset({"data-label"}),
    "img": frozenset({"src", "alt"}),
    "input": frozenset({"type", "checked", "value", "disabled"}),
    "li": frozenset({"value"}),
    "math": frozenset({"display"}),
    "ol": frozenset({"start", "type", "reversed"}),
    "table": frozenset({"border"}),
    "td": frozenset({"colspan", "rowspan"}),
    "th": frozenset({"colspan", "rowspan"}),
}
