"""Inline Markdown: words, emphasis, formulas, code and links.

`write_inline` returns line breaks as "\n" and special characters as marks of `escape`.
The caller decides how to write line breaks, and passes complete lines to
`resolve_marks`. `write_line` does both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from handler.postprocess.html.markup import Element, Node, text_of
from handler.postprocess.html.structure import (
    code_text_of,
    collapse_white_space,
    form_field_text,
    latex_of,
)
from handler.postprocess.writers.escape import (
    emphasise,
    escape_link_target,
    make_latex_safe,
    mark_special_characters,
    resolve_marks,
    to_one_line,
)

__all__ = [
    "longest_run_length",
    "write_code_span",
    "write_inline",
    "write_line",
    "write_math",
]


def write_line(nodes: Iterable[Node]) -> str:
    """Return the nodes as one line of escaped Markdown, with line breaks as spaces."""
    return resolve_marks(
        collapse_white_space(write_inline(nodes)).strip(" "), starts_block=False
    )


def write_inline(
    nodes: Iterable[Node], open_marks: frozenset[str] = frozenset()
) -> str:
    """Return the nodes as inline Markdown, with special characters still as marks.

    `open_marks` holds the emphasis marks in which the nodes are, and "a" in a link.
    """
    nodes = list(_unwrap_unmarked(nodes, open_marks))
    following = _following_characters(nodes)
    previous_piece = ""
    ends_in_code = False
    pieces: list[str] = []
    for index, node in enumerate(nodes):
        if isinstance(node, str):
            piece = mark_special_characters(
                collapse_white_space(node), in_brackets="a" in open_marks
            )
            if previous_piece.endswith("$") and piece[:1].isdigit():
                piece = " " + piece
        elif mark := _MARKS.get(node.tag):
            inner = write_inline(node.children, open_marks | {mark})
            is_nested = bool(open_marks & _STARS)
            # The first text in other emphasis follows the mark or tag of that emphasis.
            before = previous_piece[-1:] or ("<" if is_nested else "")
            piece = emphasise(
                inner, mark, before, following[index], is_nested=is_nested
            )
        else:
            piece = _write_element(node, open_marks)
            if previous_piece.endswith("$") and piece.startswith("$"):
                piece = " " + piece
            if ends_in_code and piece.startswith("`"):
                # Adjacent backticks form one run, which would end neither code span.
                piece = "<!-- -->" + piece
        if piece:
            pieces.append(piece)
            previous_piece = piece
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
        return form_field_text(node)[:1]
    if node.tag in _MARKS:
        inner = _unwrap_unmarked(node.children, frozenset())
        return next(filter(None, map(_first_character, inner)), "")
    first = text_of([node])[:1]
    return "<" if first.strip() and node.tag in _PUNCTUATED_TAGS else first


# Markdown writes these tags with a leading dollar, backtick or angle bracket.
_PUNCTUATED_TAGS = frozenset({"math", "chem", "code", "sub", "sup", "u"})


_MARKS = {"b": "**", "strong": "**", "i": "*", "del": "~~"}
_STARS = frozenset({"*", "**"})
_UNMARKED_TAGS = frozenset({"bdi", "bdo", "big", "rp", "ruby", "small", "span"})


def _unwrap_unmarked(
    nodes: Iterable[Node], open_marks: frozenset[str]
) -> Iterator[Node]:
    """Yield the nodes, and elements that leave no mark in Markdown as their content.

    The reading of ruby text, `<rt>`, is put in parentheses.
    """
    for node in nodes:
        if isinstance(node, Element) and (
            node.tag in _UNMARKED_TAGS
            or _MARKS.get(node.tag) in open_marks
            or (node.tag == "a" and not _safe_target_of(node, open_marks))
        ):
            yield from _unwrap_unmarked(node.children, open_marks)
        elif isinstance(node, Element) and node.tag == "rt":
            is_empty = not text_of(node.children).strip()
            yield "" if is_empty else "("
            yield from _unwrap_unmarked(node.children, open_marks)
            yield "" if is_empty else ")"
        else:
            yield node


def _write_element(node: Element, open_marks: frozenset[str]) -> str:
    match node.tag:
        case "br":
            return "\n"
        case "math":
            return write_math(node, in_brackets="a" in open_marks)
        case "chem":
            return write_code_span(latex_of(node))
        case "code":
            return write_code_span(collapse_white_space(code_text_of(node.children)))
        case "input":
            return mark_special_characters(
                form_field_text(node), in_brackets="a" in open_marks
            )
        case "img":
            # A description on its own line is not mistaken for words of the page.
            return f"\n{_write_image(node)}\n"
        case "a":
            return _write_link(node, open_marks)
        case "sub" | "sup" | "u":
            return _wrap_lines_in_tags(
                node.tag, write_inline(node.children, open_marks)
            )
        case _:
            return "\n" + write_inline(node.children, open_marks) + "\n"


def _wrap_lines_in_tags(tag: str, inner: str) -> str:
    """Put each line of the text that is not blank between tags.

    A tag alone on the first line of a paragraph would begin an HTML block, in which
    backslashes escape nothing.
    """
    lines = inner.split("\n")
    return "\n".join(f"<{tag}>{x}</{tag}>" if x.strip() else x for x in lines)


def write_math(
    element: Element, *, in_lines: bool = False, in_brackets: bool = False
) -> str:
    """Return LaTeX between dollars; displayed formulas have two on each side.

    An empty formula is an empty string. `in_lines` allows line breaks after comments in
    a displayed formula, and `in_brackets` is for the words of a link.
    """
    is_block = element.attrs.get("display") == "block"
    latex = latex_of(element, is_one_line=not in_lines or not is_block)
    latex = make_latex_safe(latex, in_brackets=in_brackets)
    if not latex:
        return ""
    # A sign at the start of a line could begin a list or heading; `{}` prints nothing.
    latex = re.sub(r"\n(?![A-Za-z\\])", "\n{}", latex)
    return f"$${latex}$$" if is_block else f"${latex}$"


def write_code_span(text: str) -> str:
    """Return a code span; an empty string if the text is blank.

    The backticks around the text are one more than its longest run of them.
    """
    text = to_one_line(text).strip(" ")
    if not text:
        return ""
    fence = "`" * (longest_run_length("`", text) + 1)
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def _write_image(image: Element) -> str:
    alt = image.attrs.get("alt", "")
    if "src" in image.attrs:
        description = mark_special_characters(alt, in_brackets=True)
        return f"![{description}]({escape_link_target(image.attrs['src'])})"
    return f"*{mark_special_characters(alt)}*" if alt else ""


def _safe_target_of(link: Element, open_marks: frozenset[str]) -> str:
    """Return the target of a link; "" if it is unsafe or inside another link."""
    return "" if "a" in open_marks else escape_link_target(link.attrs.get("href", ""))


def _write_link(link: Element, open_marks: frozenset[str]) -> str:
    target = _safe_target_of(link, open_marks)
    inner = collapse_white_space(write_inline(link.children, open_marks | {"a"}))
    words = inner.strip(" ")
    return inner.replace(words, f"[{words}]({target})", 1) if words else inner


def longest_run_length(character: str, text: str) -> int:
    """Return the length of the longest run of a character; 0 if there is none."""
    return max(map(len, re.findall(re.escape(character) + "+", text)), default=0)
