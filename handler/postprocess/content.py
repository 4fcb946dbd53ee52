"""Conversion of the model's output for a page to blocks, HTML, Markdown and text.

It runs in the processes of a pool, so arguments and results are plain values that can
be pickled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from html import escape

from handler.postprocess.answer import extract_answer
from handler.postprocess.blocks.collector import BlockCollector, PageGeometry
from handler.postprocess.blocks.join import StripAnswer, join_blocks
from handler.postprocess.blocks.layout import BLANK_PAGE, UNLABELLED
from handler.postprocess.html.markup import MAX_DEPTH, Element, Node, parse
from handler.postprocess.html.vocabulary import KEPT_TAGS, RENAMED_TAGS
from handler.postprocess.pictures import rename_pictures
from handler.postprocess.writers.markdown import markdown_from
from handler.postprocess.writers.plain import text_from
from handler.rotation import turned_box, turned_size
from handler.schema import Block, PageContent, PageWarning, Strip

__all__ = ["CUSTOM", "ConversionOptions", "convert_page", "convert_strips"]

CUSTOM = "custom"
"""Prompt type of a request in which the client wrote the prompt."""

_BLANK_LABELS = frozenset({BLANK_PAGE})
_MARGIN_LABELS = frozenset({"Page-Header", "Page-Footer"})
_RECOGNISED_TAGS = KEPT_TAGS | RENAMED_TAGS.keys() | {"html", "body"}
_HTML_TAG = re.compile(
    rf"</?(?:{'|'.join(sorted(_RECOGNISED_TAGS))})(?:[\s/][^<>]*)?>", re.IGNORECASE
)
"""Tags by which HTML is recognised. Other words in angle brackets, such as e-mail
addresses, occur in plain text."""


@dataclass(frozen=True, slots=True)
class ConversionOptions:
    """Options of a request that affect the conversion of a page."""

    prompt_type: str
    """Prompt type of the request. With `custom` the client wrote the prompt, and output
    without an HTML tag is plain text."""
    include_images: bool = False
    """True to return the boxes of the pictures to cut out in `figures`, by name."""
    include_headers_footers: bool = False
    """True to write headers and footers in HTML, Markdown and text. `blocks` always has
    them."""
    html_tables: bool = False
    """True to write every table in Markdown as HTML."""
    markdown_number: int | None = None
    """Number that replaces the page number in the names of pictures in Markdown;
    `illustrate` needs it."""


def convert_page(
    raw: str, geometry: PageGeometry, options: ConversionOptions
) -> PageContent:
    """Convert the model's output to blocks, HTML, Markdown and plain text.

    No model output makes this raise, and no text of the page is lost.
    """
    collector = BlockCollector(geometry, options.include_images)
    warnings = _add_answer(collector, raw, options.prompt_type)
    warnings += _box_warnings(collector.num_unusable_boxes, len(collector.blocks))
    return _write_content(collector.blocks, collector.figures, warnings, options)


def convert_strips(
    answers: tuple[StripAnswer, ...], geometry: PageGeometry, options: ConversionOptions
) -> PageContent:
    """Convert the model's outputs for the strips of a page to the content of that page.

    `geometry` is that of the page. Strips are given in pixels of the upright page, and
    boxes are returned in pixels of the caller's page. Figures are numbered
    consecutively across strips.
    """
    rotation = geometry.rotation
    size = turned_size(geometry.width, geometry.height, rotation)
    figures: dict[str, tuple[int, int, int, int]] = {}
    strips: list[tuple[Strip, list[Block]]] = []
    warnings: tuple[PageWarning, ...] = ()
    num_unusable_boxes = num_blocks = 0
    for answer in answers:
        strip = answer.strip
        left, top, _, _ = strip.box
        strip_geometry = replace(
            geometry,
            width=strip.width,
            height=strip.height,
            rotation=0,
            left=left,
            top=top,
        )
        collector = BlockCollector(
            strip_geometry, options.include_images, figures=figures
        )
        warnings += _add_answer(collector, answer.text, options.prompt_type)
        num_unusable_boxes += collector.num_unusable_boxes
        num_blocks += len(collector.blocks)
        strips.append((strip, collector.blocks))
    joined = [
        replace(block, bbox=block.bbox and turned_box(block.bbox, -rotation, *size))
        for block in join_blocks(strips, is_wide=size[0] > size[1])
    ]
    # Joining drops one of two blocks that show the same figure; drop its figure too.
    kept_figures = {
        name: turned_box(box, -rotation, *size)
        for name, box in figures.items()
        if any(f'"{name}"' in block.html for block in joined)
    }
    warnings += _box_warnings(num_unusable_boxes, num_blocks)
    return _write_content(joined, kept_figures, warnings, options)


def _add_answer(
    collector: BlockCollector, raw: str, prompt_type: str
) -> tuple[PageWarning, ...]:
    """Add the blocks of the model's output to the collector; return warnings."""
    answer, warnings = extract_answer(raw)
    if prompt_type == CUSTOM and not _HTML_TAG.search(answer):
        answer = _text_to_html(answer)
    tree = parse(answer)
    collector.add_page(
        tree.nodes, UNLABELLED if prompt_type == "ocr_layout" else "Text"
    )
    return (*warnings, *_depth_warnings(tree.num_flattened))


def _text_to_html(text: str) -> str:
    """Return HTML that shows the paragraphs and line breaks of plain text."""
    paragraphs = re.split(r"\n[ \t]*\n\s*", text.strip())
    return "".join(
        f"<p>{escape(paragraph, quote=False)}</p>".replace("\n", "<br>")
        for paragraph in paragraphs
    )


def _write_content(
    blocks: list[Block],
    figures: dict[str, tuple[int, int, int, int]],
    warnings: tuple[PageWarning, ...],
    options: ConversionOptions,
) -> PageContent:
    hidden_labels = _BLANK_LABELS
    if not options.include_headers_footers:
        hidden_labels |= _MARGIN_LABELS
    shown = [b for b in blocks if b.html and b.label not in hidden_labels]
    nodes: list[Node] = [Element("div", {}, _parse_clean(b.html)) for b in shown]
    return PageContent(
        blocks=tuple(blocks),
        html="\n".join(map(_block_to_html, shown)),
        markdown=markdown_from(
            nodes
            if options.markdown_number is None
            else rename_pictures(nodes, options.markdown_number),
            html_tables=options.html_tables,
        ),
        text=text_from(nodes),
        figures=figures,
        warnings=warnings,
    )


def _parse_clean(html: str) -> list[Node]:
    # Cleaning adds a <tbody> to tables; the limit must not cut off that extra depth.
    return parse(html, max_depth=2 * MAX_DEPTH, is_one_block=True).nodes


def _block_to_html(block: Block) -> str:
    bbox = "" if block.bbox is None else ' data-bbox="{} {} {} {}"'.format(*block.bbox)
    label = escape(block.label)
    return f'<div class="block" data-label="{label}"{bbox}>{block.html}</div>'


def _box_warnings(num_unusable_boxes: int, num_blocks: int) -> tuple[PageWarning, ...]:
    if not num_unusable_boxes:
        return ()
    detail = (
        f"{num_unusable_boxes} of {num_blocks} blocks have no readable box on the page"
    )
    return (PageWarning("bbox_unreadable", detail),)


def _depth_warnings(num_flattened: int) -> tuple[PageWarning, ...]:
    if not num_flattened:
        return ()
    detail = f"{num_flattened} elements nested too deep were reduced to their content"
    return (PageWarning("nesting_flattened", detail),)
