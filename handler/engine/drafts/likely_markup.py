"""Prediction of the next markup in the HTML that Chandra writes.

Where HTML leaves no choice, such as in the name of an end tag, the prediction is
certain. Elsewhere it is what the page contained the last time, or what most pages
contain.
"""

from __future__ import annotations

import re

from handler.engine.drafts.html_state import CELLS, CONTAINERS, INLINE, HTMLState

__all__ = ["closing_tags", "predict_markup"]

_LABELS = (
    *("Text", "Section-Header", "Table", "List-Group", "Page-Header", "Page-Footer"),
    *("Caption", "Footnote", "Image", "Figure", "Form", "Equation-Block"),
    *("Code-Block", "Table-Of-Contents", "Complex-Block"),
)
"""Labels of blocks, the most common first."""
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
"""Elements that rarely have attributes, so that the tag ends after its name."""
_NEXT_LABELS = {
    "Caption": "Table",
    "Figure": "Caption",
    "Footnote": "Page-Footer",
    "Image": "Caption",
    "Page-Header": "Section-Header",
}
"""Most common label after a block of some labels; after all others it is Text."""
_BOX = re.compile(r'<div data-bbox="(?:(\[)([\d, ]*)|([\d ]*))(.*)', re.DOTALL)


def predict_markup(state: HTMLState) -> str:
    """Return the markup that probably comes next, or "" if none is likely."""
    if state.tag is not None:
        return _complete_tag(state, state.tag)
    return _predict_after(state, state.open, state.is_closed)


def closing_tags(state: HTMLState) -> str:
    """Return the end tags of the paragraph, heading or cell that is being written."""
    tags = ""
    for name in reversed(state.open):
        if name in CONTAINERS:
            break
        tags += f"</{name}>"
        if name not in INLINE:
            break
    return tags


def _predict_after(state: HTMLState, opened: list[str], is_closed: bool) -> str:
    """Return the markup after a tag that left these elements open.

    `is_closed`: the tag was an end tag.
    """
    if not opened:
        # White space separates blocks, but does not precede the first one.
        return (state.gap if is_closed else "") + state.block_start
    name = opened[-1]
    if name == "div":
        if is_closed:
            return "</div>" + _predict_after(state, opened[:-1], True)
        return _first_tags(state, state.label)
    if name in ("ul", "ol"):
        return "<li>"
    if name in ("li", *CELLS):
        # After an end tag, which closed a paragraph in the item or cell.
        return (
            f"</{name}>" + _predict_after(state, opened[:-1], True) if is_closed else ""
        )
    if name == "tr":
        if is_closed and state.is_row_full:
            return "</tr><tr><td>"
        return ("<th>" if "thead" in opened else "<td>") + state.cell_tags
    if name in ("table", "tbody"):
        return "<tr><td>"
    if name == "thead":
        return "</thead><tbody><tr><td>" if is_closed else "<tr><th>"
    return ""


def _first_tags(state: HTMLState, label: str) -> str:
    return state.first_tags.get(label) or _FIRST_TAGS.get(label, "<p>")


def _complete_tag(state: HTMLState, tag: str) -> str:
    """Return the rest of an unfinished tag, and the markup after it."""
    usual = _predict_after(state, state.open, state.is_closed)
    if usual.startswith(tag):
        return usual[len(tag) :]
    if tag == "<":
        return f"{state.inline}>" if state.begins_text else ""
    if tag[1:] in _BARE:
        return ">"
    if state.open:
        end = f"</{state.open[-1]}>"
        if end.startswith(tag):
            return end[len(tag) :] + _predict_after(state, state.open[:-1], True)
    if (match := _BOX.match(tag)) is not None:
        return _complete_block_tag(state, match)
    if state.block_start.startswith(tag):
        return state.block_start[len(tag) :]
    return ""


def _complete_block_tag(state: HTMLState, match: re.Match[str]) -> str:
    """Return the rest of an unfinished block tag, which `_BOX` has matched."""
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


def _likely_labels(state: HTMLState) -> tuple[str, ...]:
    """Return labels for the next block, the most likely first."""
    if not state.num_blocks:
        return _LABELS
    after = state.next_labels.get(state.label) or _NEXT_LABELS.get(state.label, "Text")
    if state.label == "Page-Header":
        return (after, state.label, *_LABELS)
    # After the header, a label that starts with "Page-" is more likely the footer.
    return (after, state.label, "Page-Footer", *_LABELS)
