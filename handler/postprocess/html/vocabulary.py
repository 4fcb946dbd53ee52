"""HTML tags and attributes that are allowed in a page.

The two Chandra prompts list the tags and attributes a model may use, but models also
write others. Each tag is kept, rewritten, renamed, dropped with its content, or dropped
without it. A name unknown to HTML is text and not a tag, such as `<none>` on a form.
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


def _split_names(words: str) -> frozenset[str]:
    return frozenset(words.split())


# The tags of both prompts, and other tags that carry meaning.
KEPT_TAGS = _split_names(
    """
    a b bdi bdo big blockquote br caption chem code del div h1 h2 h3 h4 h5 h6 hr i img
    input li math ol p pre rp rt ruby small span strong sub sup table tbody td th thead
    tr u ul
    """
)

REWRITTEN_TAGS = _split_names("option q select")
"""Tags in the tree of `parse` that `tidy` replaces by kept ones."""

BLOCK_TAGS = _split_names(
    """
    blockquote caption div h1 h2 h3 h4 h5 h6 hr li ol p pre table tbody td th thead tr
    ul
    """
)

VOID_TAGS = _split_names("br hr img input")

LITERAL_TAGS = frozenset({"math", "chem"})
"""Tags for LaTeX and SMILES, whose whole content is text, including `<` and `&`."""

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

DROPPED_TAGS = _split_names("script style svg template")
"""Tags that are dropped with their content, which is not text of the page."""

KNOWN_TAGS = (
    KEPT_TAGS
    | REWRITTEN_TAGS
    | RENAMED_TAGS.keys()
    | DROPPED_TAGS
    | _split_names(
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

JOINING_TAGS = _split_names(
    """
    abbr acronym blink data font label mark nobr rb rtc think time wbr
    """
)
"""Tags that are dropped without a space; other dropped tags leave one."""

GLOBAL_ATTRIBUTES = frozenset({"class", "align", "dir"})

# `style` is not allowed: it could cover the page that shows the answer.
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
