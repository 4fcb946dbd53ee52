"""Write a page as Markdown: CommonMark, GitHub's tables, dollars around LaTeX.

Blocks first, then what runs inside them; `escape` sees to it that words of the page
stay words. Tables that a row of pipes cannot hold stay HTML, which is why the tree
must come from `sanitise.clean`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from handler.postprocess.escape import finished, lines_of, one_line, without_pairs
from handler.postprocess.flow import (
    Item,
    code_of,
    collapsed,
    is_block,
    items_of,
    latex_of,
    portions,
    rows_of,
)
from handler.postprocess.inline import code_span, inline, line_of, longest_run, math
from handler.postprocess.markup import Element, Node, serialise, text_of
from handler.postprocess.vocabulary import BLOCK_TAGS, LITERAL_TAGS

__all__ = ["markdown_from"]


def markdown_from(nodes: Iterable[Node], *, html_tables: bool = False) -> str:
    """Return the Markdown of clean HTML; `html_tables` keeps every table HTML."""
    return _joined(_blocks(nodes, html_tables))


# Blocks. Each is lines without blank ones around them.


def _blocks(nodes: Iterable[Node], html_tables: bool) -> list[str]:
    found: list[str] = []
    for portion in portions(nodes):
        if isinstance(portion, list):
            found.extend(_paragraphs(inline(portion)))
        else:
            found.extend(_block(portion, html_tables))
    return [block for block in found if block]


_LIST_START = re.compile(r"(-|\d+\.)(?:\s|\Z)")


def _joined(blocks: list[str]) -> str:
    """Blocks apart by blank lines, and two lists apart by a comment.

    Without it the second list would go on with the numbers of the first.
    """
    parts: list[str] = []
    previous = ""
    for block in blocks:
        kind = _list_kind(block)
        if kind and kind == previous:
            parts.append("<!-- -->")
        parts.append(block)
        previous = kind
    return "\n\n".join(parts)


def _list_kind(block: str) -> str:
    match = _LIST_START.match(block)
    return match[1][-1] if match else ""


def _block(element: Element, html_tables: bool) -> list[str]:
    match element.tag:
        case "h1" | "h2" | "h3" | "h4" | "h5" | "h6":
            return [_heading(int(element.tag[1]), element)]
        case "ul" | "ol":
            return [_list(element, html_tables)]
        case "table":
            return _table(element, html_tables)
        case "pre":
            return [_fence(element)]
        case "hr":
            return ["---"]
        case "math":
            return [math(element, in_lines=True)]
        case "blockquote":
            return [_quotation(element, html_tables)]
        case "chem":
            return [code_span(latex_of(element))]
        case tag if tag in BLOCK_TAGS:
            return _blocks(element.children, html_tables)
        case _:
            return _blocks(_distribute_mark(element), html_tables)


def _distribute_mark(mark: Element) -> Iterator[Node]:
    """Split bold text or a link around blocks, so that each part has its own mark."""
    for portion in portions(mark.children):
        if isinstance(portion, list):
            yield Element(mark.tag, mark.attrs, portion)
        elif portion.tag in ("p", "div"):
            inner = list(
                _distribute_mark(Element(mark.tag, mark.attrs, portion.children))
            )
            yield Element(portion.tag, portion.attrs, inner)
        elif portion.tag in BLOCK_TAGS | LITERAL_TAGS:
            yield portion
        else:
            parts = list(_distribute_mark(portion))
            yield from _distribute_mark(Element(mark.tag, mark.attrs, parts))


def _paragraphs(text: str) -> list[str]:
    """Lines apart by breaks are one paragraph; an empty line begins another."""
    paragraphs: list[list[str]] = [[]]
    for line in without_pairs(text).split("\n"):
        words = line.strip(" ")
        if words:
            paragraphs[-1].append(finished(words))
        elif paragraphs[-1]:
            paragraphs.append([])
    return ["  \n".join(lines) for lines in paragraphs if lines]


def _heading(level: int, element: Element) -> str:
    text = line_of(element.children)
    # A hash at the end would be taken for the end of the heading.
    text = re.sub(r"(^|\s)(#+)$", r"\1\\\2", text)
    return f"{'#' * level} {text}" if text else ""


# GitHub makes an alert of `[!NOTE]`, and a link of `[!NOTE](…)`.
_ALERT = re.compile(r"\A\[!(?=(?:\\.|[^\]\\\n])*+\](?!\())")


def _quotation(element: Element, html_tables: bool) -> str:
    text = _joined(_blocks(element.children, html_tables))
    text = _ALERT.sub(r"\\[!", text)
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n")) if text else ""


def _list(element: Element, html_tables: bool) -> str:
    """Entries of one list, or of several if the numbers do not count up by one.

    Markdown counts by itself. It has no letters and no negative numbers, so those are
    words of entries without a number.
    """
    items = items_of(element)
    is_counted = all(item.label.isdigit() for item in items)
    runs: list[list[Item]] = []
    for item in items:
        is_next = (
            runs and item.number is not None and item.number == _next_number(runs[-1])
        )
        if is_next or (runs and not is_counted):
            runs[-1].append(item)
        else:
            runs.append([item])
    return _joined([_entries(run, is_counted, html_tables) for run in runs])


def _next_number(items: list[Item]) -> int | None:
    number = items[-1].number
    return None if number is None else number + 1


def _entries(items: list[Item], is_counted: bool, html_tables: bool) -> str:
    entries, is_loose = [], False
    for item in items:
        marker = f"{item.label}. " if is_counted else "- "
        is_labelled = item.label and not is_counted
        blocks = _blocks(
            _prefixed(f"{item.label}. ", item.children)
            if is_labelled
            else item.children,
            html_tables,
        )
        if blocks[:1] == ["---"]:
            # `- ---` is a line across the page, and no entry.
            blocks[0] = "***"
        is_tight = len(blocks) < 2 or _is_tight(*blocks)
        text = "\n".join(blocks) if is_tight else _joined(blocks)
        is_loose = is_loose or not is_tight
        if _TASK.match(text) and not _begins_with_field(item.children):
            # GitHub shows a checkbox here.
            text = "\\" + text
        indented = re.sub(r"\n(?=[^\n])", "\n" + " " * len(marker), text)
        entries.append((marker + indented).rstrip())
    return ("\n\n" if is_loose else "\n").join(entries)


_TASK = re.compile(r"\[[ xX]\](?=\s|\Z)")


def _begins_with_field(nodes: Iterable[Node]) -> bool:
    for node in nodes:
        if isinstance(node, str):
            if node.strip():
                return False
        elif node.tag == "input" or _begins_with_field(node.children):
            return True
        elif text_of([node]).strip():
            return False
    return False


_PARAGRAPHS = frozenset({"div", "p", "h1", "h2", "h3", "h4", "h5", "h6"})


def _prefixed(prefix: str, nodes: list[Node]) -> list[Node]:
    """Insert a prefix before the first words of the nodes."""
    while nodes and isinstance(nodes[0], str) and not nodes[0].strip():
        nodes = nodes[1:]
    if not nodes or isinstance(nodes[0], str) or not is_block(nodes[0]):
        return [prefix, *nodes]
    first = nodes[0]
    if first.tag in _PARAGRAPHS:
        children = _prefixed(prefix, first.children)
        return [Element(first.tag, first.attrs, children), *nodes[1:]]
    return [Element("p", {}, [prefix]), *nodes]


# What a list may follow without a blank line, and which lists may.
_PARAGRAPH = re.compile(r"(?!- |\d+\. |\$\$)[^|<>`#]")
_INTERRUPTING = re.compile(r"(?:-|1\.) \S")


def _is_tight(first: str, second: str, *others: str) -> bool:
    """Whether an entry is a paragraph with a list under it."""
    return bool(not others and _PARAGRAPH.match(first) and _INTERRUPTING.match(second))


def _fence(element: Element) -> str:
    code = "\n".join(lines_of(code_of(element.children))).strip("\n")
    if not code.strip():
        return ""
    fence = "`" * max(3, longest_run("`", code) + 1)
    return f"{fence}{_language(element)}\n{code}\n{fence}"


_LANGUAGE = re.compile(r"(?:language|lang)-([A-Za-z0-9+#-]{1,20})|\b(mermaid)\b")


def _language(element: Element) -> str:
    for candidate in (element, *_children(element, "code")):
        match = _LANGUAGE.search(candidate.attrs.get("class", ""))
        if match:
            return match[1] or match[2]
    return ""


# Tables.


def _table(table: Element, html_tables: bool) -> list[str]:
    rows = [row for row in rows_of(table) if row]
    captions = [
        c for c in table.children if isinstance(c, Element) and c.tag == "caption"
    ]
    if not rows:
        return _blocks(table.children, html_tables)
    if html_tables or not _fits_pipes(table, rows):
        return [_html(table)]
    cells = [[_cell(cell) for cell in row] for row in rows]
    num_columns = max(map(len, cells))
    head = cells.pop(0) if _has_head(table, rows) else []
    rules = [_rule(cell) for cell in max(rows, key=len)]
    lines = [_row(head, num_columns), _row(rules, num_columns)]
    lines += [_row(row, num_columns) for row in cells]
    return [*_blocks(captions, html_tables), "\n".join(lines)]


_RULES = {"left": ":---", "center": ":---:", "right": "---:"}


def _rule(cell: Element) -> str:
    return _RULES.get(cell.attrs.get("align", ""), "---")


def _children(element: Element, tag: str) -> list[Element]:
    return [c for c in element.children if isinstance(c, Element) and c.tag == tag]


def _row(cells: list[str], num_columns: int) -> str:
    return "| " + " | ".join([*cells, *[""] * (num_columns - len(cells))]) + " |"


def _has_head(table: Element, rows: list[list[Element]]) -> bool:
    return bool(_children(table, "thead")) or all(cell.tag == "th" for cell in rows[0])


def _fits_pipes(table: Element, rows: list[list[Element]]) -> bool:
    """Whether rows of pipes say all that the table says."""
    if table.attrs.get("dir") == "rtl":
        # Rows of pipes would be shown with the first column on the left.
        return False
    heads = _children(table, "thead")
    if len(heads) > 1 or sum(len(rows_of(head)) for head in heads) > 1:
        return False
    # One long row among many short ones would be padded to a page of pipes.
    num_cells = sum(map(len, rows))
    if max(map(len, rows)) * len(rows) > 4 * num_cells + 100:
        return False
    return all(_is_plain(cell) for row in rows for cell in row)


def _is_plain(cell: Element) -> bool:
    spans = (cell.attrs.get("colspan", "1"), cell.attrs.get("rowspan", "1"))
    return spans == ("1", "1") and not _holds(cell, _TALL_TAGS)


_TALL_TAGS = frozenset({"blockquote", "table", "ul", "ol", "pre", "hr"})


def _holds(element: Element, tags: frozenset[str]) -> bool:
    return any(
        child.tag in tags or _holds(child, tags)
        for child in element.children
        if isinstance(child, Element)
    )


def _cell(cell: Element) -> str:
    written = without_pairs(inline(cell.children), in_row=True)
    lines = [line.strip() for line in written.split("\n")]
    text = "<br>".join(finished(line, starts_block=False) for line in lines if line)
    return text.replace("|", "\\|")


def _html(table: Element) -> str:
    """The table as it is, without the blank lines that would end it."""
    return re.sub(r"(?=<tr>|<tr )", "\n", serialise([_unbroken(table)]))


def _unbroken(node: Element, in_pre: bool = False) -> Element:
    in_pre = in_pre or node.tag == "pre"
    children: list[Node] = []
    for child in node.children:
        if isinstance(child, Element):
            children.append(_unbroken(child, in_pre))
        elif node.tag == "math":
            children.append(latex_of(node, is_one_line=True))
        elif in_pre:
            for number, line in enumerate(lines_of(child)):
                children += [Element("br"), line] if number else [line]
        else:
            children.append(one_line(collapsed(child)))
    attrs = {name: one_line(collapsed(value)) for name, value in node.attrs.items()}
    if node.tag in ("table", "thead", "tbody", "tr"):
        children = [c for c in children if not isinstance(c, str) or c.strip()]
    return Element(node.tag, attrs, children)
