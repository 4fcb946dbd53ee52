"""One page: from the model's words to everything a reply says about it.

Runs in the processes of a pool, so what goes in and out is plain values.
"""

from __future__ import annotations

import re
from dataclasses import replace
from html import escape

from handler.postprocess.answer import answer_of
from handler.postprocess.blocks import Blocks, Paper
from handler.postprocess.join import StripAnswer, join_blocks
from handler.postprocess.layout import BLANK_PAGE, UNLABELLED
from handler.postprocess.markdown import markdown_from
from handler.postprocess.markup import MAX_DEPTH, Element, Node, parse
from handler.postprocess.pictures import renamed
from handler.postprocess.plain import text_from
from handler.postprocess.vocabulary import KEPT_TAGS, RENAMED_TAGS
from handler.profiles import BboxFormat
from handler.rotation import turned_box, turned_size
from handler.schema import Block, PageContent, PageWarning, Strip

__all__ = ["CUSTOM", "joined_content", "page_content"]

CUSTOM = "custom"
"""The prompt type of a prompt of the caller's own."""

_BLANK = frozenset({BLANK_PAGE})
_MARGINS = frozenset({"Page-Header", "Page-Footer"})
_FORMATTING = KEPT_TAGS | RENAMED_TAGS.keys() | {"html", "body"}
_TAG = re.compile(
    rf"</?(?:{'|'.join(sorted(_FORMATTING))})(?:[\s/][^<>]*)?>", re.IGNORECASE
)
"""Any other word in angle brackets, such as an address, does not make HTML of text."""


def page_content(
    raw: str,
    *,
    bbox_format: BboxFormat,
    width: int,
    height: int,
    prompt_type: str,
    page_number: int,
    include_images: bool,
    include_headers_footers: bool,
    rotation: int = 0,
    html_tables: bool = False,
    markdown_number: int | None = None,
) -> PageContent:
    """Blocks, HTML, Markdown and plain text of a page. Never raises, loses no text.

    `width` and `height` are pixels of the caller's page, which boxes refer to, and
    `rotation` the degrees clockwise by which it was turned for the model. Blocks are
    all there; headers and footers are left out of the other three unless asked for.
    `html_tables`: every table in Markdown is HTML. `markdown_number` stands in place of
    the page's number in the names of pictures in Markdown, for `illustrate`.

    `prompt_type` is that of the request, or `custom` for a prompt of the caller's own,
    after which text without a tag is plain text.
    """
    paper = Paper(page_number, width, height, bbox_format, rotation)
    blocks = Blocks(paper, include_images)
    warnings = _add_answer(blocks, raw, prompt_type)
    warnings += _box_warnings(blocks.num_unusable_boxes, len(blocks.found))
    return _content(
        blocks.found,
        blocks.figures,
        warnings,
        include_headers_footers,
        html_tables,
        markdown_number,
    )


def joined_content(
    answers: tuple[StripAnswer, ...],
    *,
    bbox_format: BboxFormat,
    width: int,
    height: int,
    rotation: int,
    prompt_type: str,
    page_number: int,
    include_images: bool,
    include_headers_footers: bool,
    html_tables: bool = False,
    markdown_number: int | None = None,
) -> PageContent:
    """Return what `page_content` does, for a page that was read in strips.

    Strips are in pixels of the upright page, and boxes in those of the caller's page.
    Figures are numbered through.
    """
    size = turned_size(width, height, rotation)
    figures: dict[str, tuple[int, int, int, int]] = {}
    strips: list[tuple[Strip, list[Block]]] = []
    warnings: tuple[PageWarning, ...] = ()
    num_unusable = num_blocks = 0
    for answer in answers:
        strip = answer.strip
        left, top, _, _ = strip.box
        paper = Paper(
            page_number, strip.width, strip.height, bbox_format, left=left, top=top
        )
        blocks = Blocks(paper, include_images, figures=figures)
        warnings += _add_answer(blocks, answer.text, prompt_type)
        num_unusable += blocks.num_unusable_boxes
        num_blocks += len(blocks.found)
        strips.append((strip, blocks.found))
    joined = [
        replace(block, bbox=block.bbox and turned_box(block.bbox, -rotation, *size))
        for block in join_blocks(strips, is_wide=size[0] > size[1])
    ]
    # Figures of blocks that two strips show are cut out once.
    kept = {
        name: turned_box(box, -rotation, *size)
        for name, box in figures.items()
        if any(f'"{name}"' in block.html for block in joined)
    }
    warnings += _box_warnings(num_unusable, num_blocks)
    return _content(
        joined, kept, warnings, include_headers_footers, html_tables, markdown_number
    )


def _add_answer(blocks: Blocks, raw: str, prompt_type: str) -> tuple[PageWarning, ...]:
    answer, warnings = answer_of(raw)
    if prompt_type == CUSTOM and not _TAG.search(answer):
        answer = _html_of_text(answer)
    tree = parse(answer)
    blocks.add_page(tree.nodes, UNLABELLED if prompt_type == "ocr_layout" else "Text")
    return (*warnings, *_depth_warnings(tree.num_flattened))


def _html_of_text(text: str) -> str:
    """Paragraphs and line breaks of plain text, which HTML would not show."""
    paragraphs = re.split(r"\n[ \t]*\n\s*", text.strip())
    return "".join(
        f"<p>{escape(paragraph, quote=False)}</p>".replace("\n", "<br>")
        for paragraph in paragraphs
    )


def _content(
    found: list[Block],
    figures: dict[str, tuple[int, int, int, int]],
    warnings: tuple[PageWarning, ...],
    include_headers_footers: bool,
    html_tables: bool,
    markdown_number: int | None,
) -> PageContent:
    hidden = _BLANK if include_headers_footers else _BLANK | _MARGINS
    shown = [b for b in found if b.html and b.label not in hidden]
    nodes: list[Node] = [Element("div", {}, _clean_nodes(b.html)) for b in shown]
    return PageContent(
        blocks=tuple(found),
        html="\n".join(map(_div, shown)),
        markdown=markdown_from(
            nodes if markdown_number is None else renamed(nodes, markdown_number),
            html_tables=html_tables,
        ),
        text=text_from(nodes),
        figures=figures,
        warnings=warnings,
    )


def _clean_nodes(html: str) -> list[Node]:
    # Cleaning adds a level to each table, so the limit must be out of the way.
    return parse(html, max_depth=2 * MAX_DEPTH, is_one_block=True).nodes


def _div(block: Block) -> str:
    bbox = "" if block.bbox is None else ' data-bbox="{} {} {} {}"'.format(*block.bbox)
    label = escape(block.label)
    return f'<div class="block" data-label="{label}"{bbox}>{block.html}</div>'


def _box_warnings(num_unusable: int, num_blocks: int) -> tuple[PageWarning, ...]:
    if not num_unusable:
        return ()
    detail = f"{num_unusable} of {num_blocks} blocks have no readable box on the page"
    return (PageWarning("bbox_unreadable", detail),)


def _depth_warnings(num_flattened: int) -> tuple[PageWarning, ...]:
    if not num_flattened:
        return ()
    detail = f"{num_flattened} elements nested too deep were reduced to their content"
    return (PageWarning("nesting_flattened", detail),)
