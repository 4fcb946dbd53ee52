"""Write what runs inside a line of Markdown: words, marks, formulas, links.

A line break is "\n" in here; whoever asked decides how it is written. Text is
`escaped` and still has to be `finished` with the whole line, except by `line_of`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from handler.postprocess.escape import (
    emphasised,
    escaped,
    finished,
    link_target,
    one_line,
    safe_latex,
)
from handler.postprocess.flow import code_of, collapsed, input_mark, latex_of
from handler.postprocess.markup import Element, Node, text_of

__all__ = ["code_span", "inline", "line_of", "longest_run", "math"]


def line_of(nodes: Iterable[Node]) -> str:
    """Everything on one line, breaks as spaces."""
    return finished(collapsed(inline(nodes)).strip(" "), starts_block=False)


def inline(nodes: Iterable[Node], around: frozenset[str] = frozenset()) -> str:
    """Words and marks; `around` are the marks already there, and "a" in a link."""
    nodes = list(_unwrapped(nodes, around))
    following = _following_characters(nodes)
    text = ""
    ends_in_code = False
    pieces: list[str] = []
    for index, node in enumerate(nodes):
        if isinstance(node, str):
            piece = escaped(collapsed(node), in_brackets="a" in around)
            if text.endswith("$") and piece[:1].isdigit():
                piece = " " + piece
        elif mark := _MARKS.get(node.tag):
            inner = inline(node.children, around | {mark})
            is_nested = bool(around & _STARS)
            # Text that begins other emphasis comes after that emphasis' mark or tag.
            before = text[-1:] or ("<" if is_nested else "")
            piece = emphasised(
                inner, mark, before, following[index], is_nested=is_nested
            )
        else:
            piece = _piece(node, around)
            if text.endswith("$") and piece.startswith("$"):
                piece = " " + piece
            if ends_in_code and piece.startswith("`"):
                # Backticks that touch are one run, which ends neither code span.
                piece = "<!-- -->" + piece
        if piece:
            pieces.append(piece)
            text = piece
            ends_in_code = piece.endswith("`") and not isinstance(node, str)
    return "".join(pieces)


def _following_characters(nodes: list[Node]) -> list[str]:
    """Return for each node the character that is written after it, or nothing."""
    following = [""]
    for node in reversed(nodes[1:]):
        following.append(_first_character(node) or following[-1])
    return following[::-1]


def _first_character(node: Node) -> str:
    if isinstance(node, str):
        return node[:1]
    if node.tag == "input":
        return input_mark(node)[:1]
    if node.tag in _MARKS:
        inner = _unwrapped(node.children, frozenset())
        return next(filter(None, map(_first_character, inner)), "")
    first = text_of([node])[:1]
    return "<" if first.strip() and node.tag in _PUNCTUATED_TAGS else first


# The Markdown of these tags begins with a dollar, a backtick or an angle bracket.
_PUNCTUATED_TAGS = frozenset({"math", "chem", "code", "sub", "sup", "u"})


_MARKS = {"b": "**", "strong": "**", "i": "*", "del": "~~"}
_STARS = frozenset({"*", "**"})
_TRANSPARENT_TAGS = frozenset({"bdi", "bdo", "big", "rp", "ruby", "small", "span"})


def _unwrapped(nodes: Iterable[Node], around: frozenset[str]) -> Iterator[Node]:
    """The same nodes without elements that leave no mark of their own."""
    for node in nodes:
        if isinstance(node, Element) and (
            node.tag in _TRANSPARENT_TAGS
            or _MARKS.get(node.tag) in around
            or (node.tag == "a" and not _target_of(node, around))
        ):
            yield from _unwrapped(node.children, around)
        elif isinstance(node, Element) and node.tag == "rt":
            is_empty = not text_of(node.children).strip()
            yield "" if is_empty else "("
            yield from _unwrapped(node.children, around)
            yield "" if is_empty else ")"
        else:
            yield node


def _piece(node: Element, around: frozenset[str]) -> str:
    match node.tag:
        case "br":
            return "\n"
        case "math":
            return math(node, in_brackets="a" in around)
        case "chem":
            return code_span(latex_of(node))
        case "code":
            return code_span(collapsed(code_of(node.children)))
        case "input":
            return escaped(input_mark(node), in_brackets="a" in around)
        case "img":
            # A line of its own, so that it is not taken for words of the page.
            return f"\n{_image(node)}\n"
        case "a":
            return _link(node, around)
        case "sub" | "sup" | "u":
            return _tagged(node.tag, inline(node.children, around))
        case _:
            return "\n" + inline(node.children, around) + "\n"


def _tagged(tag: str, inner: str) -> str:
    """Each line in tags of its own.

    A tag alone on the first line of a paragraph would begin a block of HTML, in
    which backslashes hide nothing.
    """
    lines = inner.split("\n")
    return "\n".join(f"<{tag}>{x}</{tag}>" if x.strip() else x for x in lines)


def math(element: Element, *, in_lines: bool = False, in_brackets: bool = False) -> str:
    """LaTeX between dollars, two on each side if it stands alone.

    `in_lines` allows line breaks after comments in a formula that stands alone, and
    `in_brackets` is for the words of a link.
    """
    is_block = element.attrs.get("display") == "block"
    latex = latex_of(element, is_one_line=not in_lines or not is_block)
    latex = safe_latex(latex, in_brackets=in_brackets)
    if not latex:
        return ""
    # A sign at the start of a line could begin a list or a heading; `{}` is nothing.
    latex = re.sub(r"\n(?![A-Za-z\\])", "\n{}", latex)
    return f"$${latex}$$" if is_block else f"${latex}$"


def code_span(text: str) -> str:
    """Text between more backticks than it holds."""
    text = one_line(text).strip(" ")
    if not text:
        return ""
    fence = "`" * (longest_run("`", text) + 1)
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def _image(image: Element) -> str:
    alt = image.attrs.get("alt", "")
    if "src" in image.attrs:
        return f"![{escaped(alt, in_brackets=True)}]({link_target(image.attrs['src'])})"
    return f"*{escaped(alt)}*" if alt else ""


def _target_of(link: Element, around: frozenset[str]) -> str:
    """Return the target of a link; an empty string inside another link."""
    return "" if "a" in around else link_target(link.attrs.get("href", ""))


def _link(link: Element, around: frozenset[str]) -> str:
    target = _target_of(link, around)
    inner = collapsed(inline(link.children, around | {"a"}))
    words = inner.strip(" ")
    return inner.replace(words, f"[{words}]({target})", 1) if words else inner


def longest_run(character: str, text: str) -> int:
    """How often a character is repeated at most."""
    return max(map(len, re.findall(re.escape(character) + "+", text)), default=0)
