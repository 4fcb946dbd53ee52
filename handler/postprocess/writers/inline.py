"""Inline Markdown: words, emphasis, formulas, code and links.

Line breaks are returned as "\n", and the caller decides how to write them. The text is
`escaped`: the caller passes complete lines to `finish_line`. `write_line` does both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from handler.postprocess.html.flow import code_of, collapsed, input_mark, latex_of
from handler.postprocess.html.markup import Element, Node, text_of
from handler.postprocess.writers.escape import (
    emphasise,
    escaped,
    finish_line,
    link_target,
    safe_latex,
    to_one_line,
)

__all__ = ["code_span", "longest_run", "write_inline", "write_line", "write_math"]


def write_line(nodes: Iterable[Node]) -> str:
    """Return the nodes as one finished line, with line breaks as spaces."""
    return finish_line(collapsed(write_inline(nodes)).strip(" "), starts_block=False)


def write_inline(nodes: Iterable[Node], around: frozenset[str] = frozenset()) -> str:
    """Return the nodes as inline Markdown.

    `around` has the emphasis marks that are open around the nodes, and "a" in a link.
    """
    nodes = list(_unwrap(nodes, around))
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
            inner = write_inline(node.children, around | {mark})
            is_nested = bool(around & _STARS)
            # The first text in other emphasis follows the mark or tag of that emphasis.
            before = text[-1:] or ("<" if is_nested else "")
            piece = emphasise(
                inner, mark, before, following[index], is_nested=is_nested
            )
        else:
            piece = _write_element(node, around)
            if text.endswith("$") and piece.startswith("$"):
                piece = " " + piece
            if ends_in_code and piece.startswith("`"):
                # Adjacent backticks form one run, which would end neither code span.
                piece = "<!-- -->" + piece
        if piece:
            pieces.append(piece)
            text = piece
            ends_in_code = piece.endswith("`") and not isinstance(node, str)
    return "".join(pieces)


def _following_characters(nodes: list[Node]) -> list[str]:
    """Return the character that follows each node; an empty string if there is none."""
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
        inner = _unwrap(node.children, frozenset())
        return next(filter(None, map(_first_character, inner)), "")
    first = text_of([node])[:1]
    return "<" if first.strip() and node.tag in _PUNCTUATED_TAGS else first


# Markdown writes these tags with a leading dollar, backtick or angle bracket.
_PUNCTUATED_TAGS = frozenset({"math", "chem", "code", "sub", "sup", "u"})


_MARKS = {"b": "**", "strong": "**", "i": "*", "del": "~~"}
_STARS = frozenset({"*", "**"})
_UNMARKED_TAGS = frozenset({"bdi", "bdo", "big", "rp", "ruby", "small", "span"})


def _unwrap(nodes: Iterable[Node], around: frozenset[str]) -> Iterator[Node]:
    """Yield the nodes, with the content of elements that leave no mark in Markdown."""
    for node in nodes:
        if isinstance(node, Element) and (
            node.tag in _UNMARKED_TAGS
            or _MARKS.get(node.tag) in around
            or (node.tag == "a" and not _target_of(node, around))
        ):
            yield from _unwrap(node.children, around)
        elif isinstance(node, Element) and node.tag == "rt":
            is_empty = not text_of(node.children).strip()
            yield "" if is_empty else "("
            yield from _unwrap(node.children, around)
            yield "" if is_empty else ")"
        else:
            yield node


def _write_element(node: Element, around: frozenset[str]) -> str:
    match node.tag:
        case "br":
            return "\n"
        case "math":
            return write_math(node, in_brackets="a" in around)
        case "chem":
            return code_span(latex_of(node))
        case "code":
            return code_span(collapsed(code_of(node.children)))
        case "input":
            return escaped(input_mark(node), in_brackets="a" in around)
        case "img":
            # A description on its own line is not mistaken for words of the page.
            return f"\n{_write_image(node)}\n"
        case "a":
            return _write_link(node, around)
        case "sub" | "sup" | "u":
            return _tag_lines(node.tag, write_inline(node.children, around))
        case _:
            return "\n" + write_inline(node.children, around) + "\n"


def _tag_lines(tag: str, inner: str) -> str:
    """Return the text with tags around each of its lines.

    A tag alone on the first line of a paragraph would begin an HTML block, in which
    backslashes escape nothing.
    """
    lines = inner.split("\n")
    return "\n".join(f"<{tag}>{x}</{tag}>" if x.strip() else x for x in lines)


def write_math(
    element: Element, *, in_lines: bool = False, in_brackets: bool = False
) -> str:
    """Return LaTeX between dollars; displayed formulas have two on each side.

    `in_lines` allows line breaks after comments in a displayed formula, and
    `in_brackets` is for the words of a link.
    """
    is_block = element.attrs.get("display") == "block"
    latex = latex_of(element, is_one_line=not in_lines or not is_block)
    latex = safe_latex(latex, in_brackets=in_brackets)
    if not latex:
        return ""
    # A sign at the start of a line could begin a list or heading; `{}` prints nothing.
    latex = re.sub(r"\n(?![A-Za-z\\])", "\n{}", latex)
    return f"$${latex}$$" if is_block else f"${latex}$"


def code_span(text: str) -> str:
    """Return a code span, with more backticks around the text than it contains."""
    text = to_one_line(text).strip(" ")
    if not text:
        return ""
    fence = "`" * (longest_run("`", text) + 1)
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def _write_image(image: Element) -> str:
    alt = image.attrs.get("alt", "")
    if "src" in image.attrs:
        return f"![{escaped(alt, in_brackets=True)}]({link_target(image.attrs['src'])})"
    return f"*{escaped(alt)}*" if alt else ""


def _target_of(link: Element, around: frozenset[str]) -> str:
    """Return the target of a link; an empty string if unsafe or inside another link."""
    return "" if "a" in around else link_target(link.attrs.get("href", ""))


def _write_link(link: Element, around: frozenset[str]) -> str:
    target = _target_of(link, around)
    inner = collapsed(write_inline(link.children, around | {"a"}))
    words = inner.strip(" ")
    return inner.replace(words, f"[{words}]({target})", 1) if words else inner


def longest_run(character: str, text: str) -> int:
    """Return the length of the longest run of a character."""
    return max(map(len, re.findall(re.escape(character) + "+", text)), default=0)
