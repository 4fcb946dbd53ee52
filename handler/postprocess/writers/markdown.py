"""Markdown writer: CommonMark, GitHub's tables, dollars around LaTeX.

This module writes blocks, the module `inline` writes their content, and `escape`
escapes the text. Tables that rows of pipes cannot express are written as HTML, so the
tree must have been sanitised by `sanitise.clean`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from handler.postprocess.html.markup import Element, Node, serialise, text_of
from handler.postprocess.html.structure import (
    ListItem,
    code_text_of,
    collapse_white_space,
    is_block_level,
    latex_of,
    list_items_of,
    rows_of,
    split_into_blocks,
)
from handler.postprocess.html.vocabulary import BLOCK_TAGS, LITERAL_TAGS
from handler.postprocess.writers.escape import (
    escape_dollars_and_backticks,
    resolve_marks,
    split_lines,
    to_one_line,
)
from handler.postprocess.writers.inline import (
    longest_run_length,
    write_code_span,
    write_inline,
    write_line,
    write_math,
)

__all__ = ["markdown_from"]


def markdown_from(nodes: Iterable[Node], *, html_tables: bool = False) -> str:
    """Return sanitised HTML as Markdown, without a line break at the end.

    `html_tables` writes every table as HTML.
    """
    return _join_blocks(_write_blocks(nodes, html_tables))


# A block of Markdown is a string of lines without blank lines at its start or end.


def _write_blocks(nodes: Iterable[Node], html_tables: bool) -> list[str]:
    blocks: list[str] = []
    for portion in split_into_blocks(nodes):
        if isinstance(portion, list):
            blocks.extend(_write_paragraphs(write_inline(portion)))
        else:
            blocks.extend(_write_block(portion, html_tables))
    return [block for block in blocks if block]


_LIST_START = re.compile(r"(-|\d+\.)(?:\s|\Z)")


def _join_blocks(blocks: list[str]) -> str:
    """Join blocks by blank lines, and insert a comment between adjacent lists.

    Without the comment, the second list would continue the numbers of the first.
    """
    parts: list[str] = []
    previous_kind = ""
    for block in blocks:
        kind = _list_marker_kind(block)
        if kind and kind == previous_kind:
            parts.append("<!-- -->")
        parts.append(block)
        previous_kind = kind
    return "\n\n".join(parts)


def _list_marker_kind(block: str) -> str:
    """Return `-` for a bullet list, `.` for a numbered list, else an empty string."""
    match = _LIST_START.match(block)
    return match[1][-1] if match else ""


def _write_block(element: Element, html_tables: bool) -> list[str]:
    match element.tag:
        case "h1" | "h2" | "h3" | "h4" | "h5" | "h6":
            return [_write_heading(int(element.tag[1]), element)]
        case "ul" | "ol":
            return [_write_list(element, html_tables)]
        case "table":
            return _write_table(element, html_tables)
        case "pre":
            return [_write_code_listing(element)]
        case "hr":
            return ["---"]
        case "math":
            return [write_math(element, in_lines=True)]
        case "blockquote":
            return [_write_block_quote(element, html_tables)]
        case "chem":
            return [write_code_span(latex_of(element))]
        case tag if tag in BLOCK_TAGS:
            return _write_blocks(element.children, html_tables)
        case _:
            return _write_blocks(_distribute_formatting(element), html_tables)


def _distribute_formatting(mark: Element) -> Iterator[Node]:
    """Yield the content of an inline element around blocks, such as `<b>` or `<a>`.

    Each inline part gets an element of its own, because Markdown's emphasis and links
    cannot contain blocks.
    """
    for portion in split_into_blocks(mark.children):
        if isinstance(portion, list):
            yield Element(mark.tag, mark.attrs, portion)
        elif portion.tag in ("p", "div"):
            inner = list(
                _distribute_formatting(Element(mark.tag, mark.attrs, portion.children))
            )
            yield Element(portion.tag, portion.attrs, inner)
        elif portion.tag in BLOCK_TAGS | LITERAL_TAGS:
            yield portion
        else:
            parts = list(_distribute_formatting(portion))
            yield from _distribute_formatting(Element(mark.tag, mark.attrs, parts))


def _write_paragraphs(text: str) -> list[str]:
    """Split the result of `write_inline` into paragraphs at empty lines.

    Other line breaks become hard breaks, and marks become escaped characters.
    """
    paragraphs: list[list[str]] = [[]]
    for line in escape_dollars_and_backticks(text).split("\n"):
        words = line.strip(" ")
        if words:
            paragraphs[-1].append(resolve_marks(words))
        elif paragraphs[-1]:
            paragraphs.append([])
    return ["  \n".join(lines) for lines in paragraphs if lines]


def _write_heading(level: int, element: Element) -> str:
    text = write_line(element.children)
    # Readers drop an unescaped hash at the end of a heading.
    text = re.sub(r"(^|\s)(#+)$", r"\1\\\2", text)
    return f"{'#' * level} {text}" if text else ""


# GitHub shows `[!NOTE]` as an alert, but `[!NOTE](…)` is a link.
_ALERT_START = re.compile(r"\A\[!(?=(?:\\.|[^\]\\\n])*+\](?!\())")


def _write_block_quote(element: Element, html_tables: bool) -> str:
    text = _join_blocks(_write_blocks(element.children, html_tables))
    text = _ALERT_START.sub(r"\\[!", text)
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n")) if text else ""


def _write_list(element: Element, html_tables: bool) -> str:
    """Return one list, or several if the numbers do not count up by one.

    Markdown counts by itself. It has no letters and no negative numbers, so a list with
    such labels is written as bullets, with the labels as text.
    """
    items = list_items_of(element)
    is_counted = all(item.label.isdigit() for item in items)
    runs: list[list[ListItem]] = []
    for item in items:
        is_next = (
            runs and item.number is not None and item.number == _next_number(runs[-1])
        )
        if is_next or (runs and not is_counted):
            runs[-1].append(item)
        else:
            runs.append([item])
    return _join_blocks([_write_items(run, is_counted, html_tables) for run in runs])


def _next_number(items: list[ListItem]) -> int | None:
    number = items[-1].number
    return None if number is None else number + 1


def _write_items(items: list[ListItem], is_counted: bool, html_tables: bool) -> str:
    # CommonMark calls a list with blank lines between its entries loose.
    entries, is_loose = [], False
    for item in items:
        marker = f"{item.label}. " if is_counted else "- "
        is_labelled = item.label and not is_counted
        blocks = _write_blocks(
            _prepend_words(f"{item.label}. ", item.children)
            if is_labelled
            else item.children,
            html_tables,
        )
        if blocks[:1] == ["---"]:
            # CommonMark reads `- ---` as a thematic break, not as an entry.
            blocks[0] = "***"
        needs_no_blank_line = len(blocks) < 2 or _is_paragraph_and_list(*blocks)
        text = "\n".join(blocks) if needs_no_blank_line else _join_blocks(blocks)
        is_loose = is_loose or not needs_no_blank_line
        if _TASK_CHECKBOX.match(text) and not _begins_with_form_field(item.children):
            # Without the backslash, GitHub would show this text as a checkbox.
            text = "\\" + text
        indented = re.sub(r"\n(?=[^\n])", "\n" + " " * len(marker), text)
        entries.append((marker + indented).rstrip())
    return ("\n\n" if is_loose else "\n").join(entries)


_TASK_CHECKBOX = re.compile(r"\[[ xX]\](?=\s|\Z)")


def _begins_with_form_field(nodes: Iterable[Node]) -> bool:
    for node in nodes:
        if isinstance(node, str):
            if node.strip():
                return False
        elif node.tag == "input" or _begins_with_form_field(node.children):
            return True
        elif text_of([node]).strip():
            return False
    return False


_TAGS_THAT_TAKE_A_PREFIX = frozenset({"div", "p", "h1", "h2", "h3", "h4", "h5", "h6"})


def _prepend_words(prefix: str, nodes: list[Node]) -> list[Node]:
    """Return the nodes with a prefix before their first words.

    If the first node is another block, such as a list or table, the prefix becomes a
    paragraph before it. A heading or div takes the prefix inside.
    """
    while nodes and isinstance(nodes[0], str) and not nodes[0].strip():
        nodes = nodes[1:]
    if not nodes or isinstance(nodes[0], str) or not is_block_level(nodes[0]):
        return [prefix, *nodes]
    first = nodes[0]
    if first.tag in _TAGS_THAT_TAKE_A_PREFIX:
        children = _prepend_words(prefix, first.children)
        return [Element(first.tag, first.attrs, children), *nodes[1:]]
    return [Element("p", {}, [prefix]), *nodes]


# A list may follow a paragraph without a blank line if it is a bullet list or begins
# with 1.
_PARAGRAPH = re.compile(r"(?!- |\d+\. |\$\$)[^|<>`#]")
_INTERRUPTING_LIST = re.compile(r"(?:-|1\.) \S")


def _is_paragraph_and_list(first: str, second: str, *others: str) -> bool:
    """Return True for just a paragraph and a list that may directly follow it."""
    return bool(
        not others and _PARAGRAPH.match(first) and _INTERRUPTING_LIST.match(second)
    )


def _write_code_listing(element: Element) -> str:
    code = "\n".join(split_lines(code_text_of(element.children))).strip("\n")
    if not code.strip():
        return ""
    fence = "`" * max(3, longest_run_length("`", code) + 1)
    return f"{fence}{_listing_language(element)}\n{code}\n{fence}"


_LANGUAGE = re.compile(r"(?:language|lang)-([A-Za-z0-9+#-]{1,20})|\b(mermaid)\b")


def _listing_language(element: Element) -> str:
    for candidate in (element, *_children_with_tag(element, "code")):
        match = _LANGUAGE.search(candidate.attrs.get("class", ""))
        if match:
            return match[1] or match[2]
    return ""


# Tables.


def _write_table(table: Element, html_tables: bool) -> list[str]:
    rows = [row for row in rows_of(table) if row]
    captions = [
        c for c in table.children if isinstance(c, Element) and c.tag == "caption"
    ]
    if not rows:
        return _write_blocks(table.children, html_tables)
    if html_tables or not _fits_pipes(table, rows):
        return [_write_html_table(table)]
    cells = [[_write_cell(cell) for cell in row] for row in rows]
    num_columns = max(map(len, cells))
    head = cells.pop(0) if _has_header_row(table, rows) else []
    alignments = [_write_alignment(cell) for cell in max(rows, key=len)]
    lines = [_write_row(head, num_columns), _write_row(alignments, num_columns)]
    lines += [_write_row(row, num_columns) for row in cells]
    return [*_write_blocks(captions, html_tables), "\n".join(lines)]


_ALIGNMENTS = {"left": ":---", "center": ":---:", "right": "---:"}


def _write_alignment(cell: Element) -> str:
    return _ALIGNMENTS.get(cell.attrs.get("align", ""), "---")


def _children_with_tag(element: Element, tag: str) -> list[Element]:
    return [c for c in element.children if isinstance(c, Element) and c.tag == tag]


def _write_row(cells: list[str], num_columns: int) -> str:
    return "| " + " | ".join([*cells, *[""] * (num_columns - len(cells))]) + " |"


def _has_header_row(table: Element, rows: list[list[Element]]) -> bool:
    return bool(_children_with_tag(table, "thead")) or all(
        cell.tag == "th" for cell in rows[0]
    )


def _fits_pipes(table: Element, rows: list[list[Element]]) -> bool:
    """Return True if rows of pipes can express the whole table at a reasonable size."""
    if table.attrs.get("dir") == "rtl":
        # Readers show the first column of a table of pipes on the left.
        return False
    heads = _children_with_tag(table, "thead")
    if len(heads) > 1 or sum(len(rows_of(head)) for head in heads) > 1:
        return False
    # One long row among many short ones would be padded to a page of pipes.
    num_cells = sum(map(len, rows))
    if max(map(len, rows)) * len(rows) > 4 * num_cells + 100:
        return False
    return all(_fits_pipe_cell(cell) for row in rows for cell in row)


def _fits_pipe_cell(cell: Element) -> bool:
    spans = (cell.attrs.get("colspan", "1"), cell.attrs.get("rowspan", "1"))
    return spans == ("1", "1") and not _contains_tag(cell, _MULTILINE_TAGS)


_MULTILINE_TAGS = frozenset({"blockquote", "table", "ul", "ol", "pre", "hr"})


def _contains_tag(element: Element, tags: frozenset[str]) -> bool:
    return any(
        child.tag in tags or _contains_tag(child, tags)
        for child in element.children
        if isinstance(child, Element)
    )


def _write_cell(cell: Element) -> str:
    content = escape_dollars_and_backticks(write_inline(cell.children), in_row=True)
    lines = [line.strip() for line in content.split("\n")]
    text = "<br>".join(
        resolve_marks(line, starts_block=False) for line in lines if line
    )
    return text.replace("|", "\\|")


def _write_html_table(table: Element) -> str:
    """Return a table as HTML, without the blank lines at which Markdown ends HTML."""
    return re.sub(r"(?=<tr>|<tr )", "\n", serialise([_remove_line_breaks(table)]))


def _remove_line_breaks(node: Element, in_pre: bool = False) -> Element:
    in_pre = in_pre or node.tag == "pre"
    children: list[Node] = []
    for child in node.children:
        if isinstance(child, Element):
            children.append(_remove_line_breaks(child, in_pre))
        elif node.tag == "math":
            children.append(latex_of(node, is_one_line=True))
        elif in_pre:
            for number, line in enumerate(split_lines(child)):
                children += [Element("br"), line] if number else [line]
        else:
            children.append(to_one_line(collapse_white_space(child)))
    attrs = {
        name: to_one_line(collapse_white_space(value))
        for name, value in node.attrs.items()
    }
    if node.tag in ("table", "thead", "tbody", "tr"):
        children = [c for c in children if not isinstance(c, str) or c.strip()]
    return Element(node.tag, attrs, children)
