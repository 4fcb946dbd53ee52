"""The markup that usually comes next in Chandra's HTML.

Exact where HTML leaves no choice, such as the name of an end tag; elsewhere what
the page did the last time, or what most pages do.
"""

from __future__ import annotations

import re

from handler.engine.drafts.html_state import CELLS, CONTAINERS, INLINE, Markup

__all__ = ["closing", "following"]

_LABELS = (
    *("Text", "Section-Header", "Table", "List-Group", "Page-Header", "Page-Footer"),
    *("Caption", "Footnote", "Image", "Figure", "Form", "Equation-Block"),
    *("Code-Block", "Table-Of-Contents", "Complex-Block"),
)
"""The most common ones first."""
_FIRST_TAGS = {
    "Equation-Block": '<math display="block">',
    "Figure": '<img alt="',
    "Image": '<img alt="',
    "List-Group": "<ul><li>",
    "Section-Header": "<h",
    "Table": "<table>",
}
_BARE = frozenset(
    (
        *("b", "br", "code", "h1", "h2", "h3", "h4", "h5", "i", "li", "ol", "p", "pre"),
        *("small", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "u"),
        "ul",
    )
)
"""Elements that seldom have attributes: behind the name the tag ends."""
_NEXT_LABELS = {
    "Caption": "Table",
    "Figure": "Caption",
    "Footnote": "Page-Footer",
    "Image": "Caption",
    "Page-Header": "Section-Header",
}
"""What most often comes after a block; behind any other it is text."""
_BOX = re.compile(r'<div data-bbox="(?:(\[)([\d, ]*)|([\d ]*))(.*)', re.DOTALL)


def following(state: Markup) -> str:
    """What comes next where that is no text; "" where nothing is likely."""
    if state.tag is not None:
        return _rest_of_tag(state, state.tag)
    return _after(state, state.open, state.is_closed)


def closing(state: Markup) -> str:
    """The end tags of the paragraph, heading or cell that is being written."""
    tags = ""
    for name in reversed(state.open):
        if name in CONTAINERS:
            break
        tags += f"</{name}>"
        if name not in INLINE:
            break
    return tags


def _after(state: Markup, opened: list[str], is_closed: bool) -> str:
    """What follows where these are open, and one was just opened, or closed."""
    if not opened:
        # Nothing is between the first block and what is before it.
        return (state.gap if is_closed else "") + state.block_start
    name = opened[-1]
    if name == "div":
        if is_closed:
            return "</div>" + _after(state, opened[:-1], True)
        return _first_tags(state, state.label)
    if name in ("ul", "ol"):
        return "<li>"
    if name in ("li", *CELLS):
        # What was closed is a paragraph within.
        return f"</{name}>" + _after(state, opened[:-1], True) if is_closed else ""
    if name == "tr":
        if is_closed and state.is_row_full:
            return "</tr><tr><td>"
        return ("<th>" if "thead" in opened else "<td>") + state.cell_tags
    if name in ("table", "tbody"):
        return "<tr><td>"
    if name == "thead":
        return "</thead><tbody><tr><td>" if is_closed else "<tr><th>"
    return ""


def _first_tags(state: Markup, label: str) -> str:
    return state.first_tags.get(label) or _FIRST_TAGS.get(label, "<p>")


def _rest_of_tag(state: Markup, tag: str) -> str:
    usual = _after(state, state.open, state.is_closed)
    if usual.startswith(tag):
        return usual[len(tag) :]
    if tag == "<":
        return f"{state.inline}>" if state.begins_text else ""
    if tag[1:] in _BARE:
        return ">"
    if state.open:
        end = f"</{state.open[-1]}>"
        if end.startswith(tag):
            return end[len(tag) :] + _after(state, state.open[:-1], True)
    if (match := _BOX.match(tag)) is not None:
        return _rest_of_block(state, match)
    if state.block_start.startswith(tag):
        return state.block_start[len(tag) :]
    return ""


def _rest_of_block(state: Markup, match: re.Match[str]) -> str:
    bracket, in_brackets, bare, rest = match.groups()
    separator, end = (", ", ']" data-label="') if bracket else (" ", '" data-label="')
    if not rest:
        numbers = in_brackets if bracket else bare
        if numbers.endswith(","):
            return " "
        # Most numbers have three digits; the digits themselves cannot be predicted.
        if len(numbers) < 3 or not numbers[-3:].isdigit():
            return ""
        return separator if numbers.count(" ") < 3 else end
    if not rest.startswith(end):
        return end[len(rest) :] if end.startswith(rest) else ""
    label = rest[len(end) :]
    if label.endswith('"'):
        return ">" + _first_tags(state, label[:-1])
    for known in _likely_labels(state):
        if known.startswith(label):
            return f'{known[len(label) :]}">' + _first_tags(state, known)
    return ""


def _likely_labels(state: Markup) -> tuple[str, ...]:
    if not state.num_blocks:
        return _LABELS
    after = state.next_labels.get(state.label) or _NEXT_LABELS.get(state.label, "Text")
    if state.label == "Page-Header":
        return (after, state.label, *_LABELS)
    # The head of the page is written by then.
    return (after, state.label, "Page-Footer", *_LABELS)
