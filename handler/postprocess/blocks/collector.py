"""Conversion of a page's HTML tree to blocks with sanitised HTML.

A block is a `<div>` with a label or a box. Content between such divs becomes a block
without a box, because text without a box is still text. A page that was read with the
prompt that asks for no blocks becomes one block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from handler.postprocess.blocks.layout import (
    BLANK_PAGE,
    UNLABELLED,
    Bbox,
    parse_bbox,
    parse_label,
)
from handler.postprocess.blocks.tidy import (
    add_quotation_marks,
    drop_ruby_parentheses,
    filter_attributes,
    mark_options,
    rewrite_math,
)
from handler.postprocess.html.markup import Element, Node, serialise
from handler.postprocess.html.sanitise import clean, picture_name
from handler.postprocess.html.structure import collapse_white_space, is_block_level
from handler.profiles import BboxFormat
from handler.rotation import turned_box, turned_size
from handler.schema import Block

__all__ = ["BlockCollector", "PageGeometry"]

# Blocks with these labels get a picture even if the model wrote no <img>.
_PICTURE_LABELS = frozenset({"Image", "Figure"})
# An <img> in any other block shows nothing that is on the page, as chandra-ocr 0.2.0
# found: the model invents icons, logos and drawings of molecules.
_IMAGE_LABELS = _PICTURE_LABELS | {"Diagram"}
# Cropping and encoding cost time, so a page must not be able to ask for thousands.
_MAX_FIGURES = 64
# The element that wraps bare text in blocks with these labels; elsewhere it is <p>.
_BARE_TAGS = {"Section-Header": "h2", "Code-Block": "pre"}


@dataclass(frozen=True, slots=True)
class PageGeometry:
    """Size and rotation of a caller's page or strip, by which boxes are converted.

    `width` and `height` are pixels of the page as the caller sent it.
    """

    number: int
    width: int
    height: int
    bbox_format: BboxFormat
    rotation: int = 0
    """Degrees clockwise by which the page was turned for the model."""
    left: int = 0
    top: int = 0
    """Position of a strip on its page, in pixels; `left` and `top` are 0 for a page."""

    def parse_bbox(self, value: str | None) -> Bbox | None:
        """Return the model's box in pixels of the caller's page; None if unusable.

        The model writes boxes for the turned page or strip that it saw.
        """
        width, height = turned_size(self.width, self.height, self.rotation)
        turned = parse_bbox(value, self.bbox_format, width, height)
        if turned is None:
            return None
        left, top, right, bottom = turned_box(turned, -self.rotation, width, height)
        return left + self.left, top + self.top, right + self.left, bottom + self.top


@dataclass(frozen=True, slots=True)
class _BlockContext:
    """Label and box of the innermost labelled div around a node.

    `quotation_depth` is the number of `<q>` around the node.
    """

    label: str
    bbox: Bbox | None
    quotation_depth: int = 0

    def inside_quotation(self) -> _BlockContext:
        return replace(self, quotation_depth=self.quotation_depth + 1)


@dataclass(slots=True)
class BlockCollector:
    """Collector of a page's blocks in reading order, and of the pictures to cut out.

    `figures` maps names of pictures to their boxes. `num_unusable_boxes` counts the
    labelled divs without a usable box, except those of blank pages.
    """

    geometry: PageGeometry
    include_images: bool
    blocks: list[Block] = field(default_factory=list)
    figures: dict[str, Bbox] = field(default_factory=dict)
    num_unusable_boxes: int = 0

    def add_page(self, nodes: Iterable[Node], stray_label: str = UNLABELLED) -> None:
        """Convert a page's top-level nodes to blocks, and add those to this collector.

        Content outside labelled divs becomes blocks with `stray_label` and no box.
        """
        stray_nodes: list[Node] = []
        for node in nodes:
            if not _is_block(node):
                stray_nodes.append(node)
                continue
            self._add_stray_block(stray_label, stray_nodes)
            stray_nodes = []
            assert isinstance(node, Element)
            label = parse_label(node.attrs.get("data-label"))
            bbox = self.geometry.parse_bbox(node.attrs.get("data-bbox"))
            if bbox is None and label != BLANK_PAGE:
                self.num_unusable_boxes += 1
            self._add_block(label, bbox, node.children)
        self._add_stray_block(stray_label, stray_nodes)

    def _add_stray_block(self, label: str, nodes: list[Node]) -> None:
        if _has_content(nodes):
            self._add_block(label, None, nodes)

    def _add_block(self, label: str, bbox: Bbox | None, nodes: list[Node]) -> None:
        num_figures = len(self.figures)
        rewritten = self._rewrite_nodes(nodes, _BlockContext(label, bbox))
        if label in _PICTURE_LABELS and len(self.figures) == num_figures:
            name = self._add_figure(bbox)
            if name is not None:
                rewritten.insert(0, Element("img", {"src": name, "alt": label}))
        html = clean(serialise(_wrap_bare_text(label, rewritten))).strip()
        self.blocks.append(Block(label, bbox, html))

    def _rewrite_nodes(
        self, nodes: Iterable[Node], context: _BlockContext
    ) -> list[Node]:
        """Return the nodes with only the tags, attributes and pictures of replies.

        Pictures are added to `figures`.
        """
        rewritten: list[Node] = []
        for node in drop_ruby_parentheses(nodes):
            if isinstance(node, str):
                rewritten.append(node)
                continue
            match node.tag:
                case "img":
                    # The space keeps the words on both sides of a dropped image apart.
                    rewritten.append(self._convert_image(node, context) or " ")
                case "math":
                    rewritten.append(rewrite_math(node))
                case "select":
                    rewritten += self._rewrite_nodes(mark_options(node), context)
                case "option":
                    rewritten += [
                        " ",
                        *self._rewrite_nodes(node.children, context),
                        " ",
                    ]
                case "q":
                    children = self._rewrite_nodes(
                        node.children, context.inside_quotation()
                    )
                    rewritten += add_quotation_marks(children, context.quotation_depth)
                case _:
                    rewritten.append(self._convert_element(node, context))
        return rewritten

    def _convert_element(self, node: Element, context: _BlockContext) -> Element:
        own_label = node.attrs.get("data-label")
        label = context.label if own_label is None else parse_label(own_label)
        bbox = self.geometry.parse_bbox(node.attrs.get("data-bbox")) or context.bbox
        inner = replace(context, label=label, bbox=bbox)
        children = self._rewrite_nodes(node.children, inner)
        if own_label is not None:
            children = _wrap_bare_text(label, children)
        return Element(node.tag, filter_attributes(node), children)

    def _convert_image(self, image: Element, context: _BlockContext) -> Element | None:
        """Return an image with the name of its picture, which `figures` gets.

        Without a picture, the image has its description only. Return None if there is
        no description either, or if the block's label does not allow images.
        """
        if context.label not in _IMAGE_LABELS:
            return None
        alt = collapse_white_space(image.attrs.get("alt", "")).strip()
        name = self._add_figure(context.bbox)
        if name is None:
            return Element("img", {"alt": alt}) if alt else None
        return Element("img", {"src": name, "alt": alt})

    def _add_figure(self, bbox: Bbox | None) -> str | None:
        """Add the picture in a box to `figures` and return its name.

        Return None if there is no box, pictures are off, the box already has a picture,
        or there are too many.
        """
        if bbox is None or not self.include_images or bbox in self.figures.values():
            return None
        if len(self.figures) == _MAX_FIGURES:
            return None
        name = picture_name(self.geometry.number, len(self.figures) + 1)
        self.figures[name] = bbox
        return name


def _is_block(node: Node) -> bool:
    return (
        isinstance(node, Element)
        and node.tag == "div"
        and ("data-bbox" in node.attrs or "data-label" in node.attrs)
    )


def _has_content(nodes: Iterable[Node]) -> bool:
    return any(
        bool(node.strip())
        if isinstance(node, str)
        else node.tag == "input" or _has_content(node.children)
        for node in nodes
    )


def _wrap_bare_text(label: str, nodes: list[Node]) -> list[Node]:
    """Wrap the nodes if they are bare text: in `<p>`, or the element of their label."""
    is_bare = any(isinstance(node, str) and node.strip() for node in nodes)
    if label in _BARE_TAGS:
        is_bare = is_bare or bool(nodes)
    if not is_bare or any(isinstance(n, Element) and is_block_level(n) for n in nodes):
        return nodes
    return [Element(_BARE_TAGS.get(label, "p"), {}, nodes)]
