"""Cut a page into blocks, each with clean HTML of its own.

A block is a `<div>` with a label or a box. What stands between blocks is a block
too, because text without a box is still text; so is a whole page that was read
with the prompt that asks for no blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from handler.postprocess.flow import collapsed, is_block
from handler.postprocess.layout import (
    BLANK_PAGE,
    UNLABELLED,
    Bbox,
    bbox_from,
    label_from,
)
from handler.postprocess.markup import Element, Node, serialise
from handler.postprocess.sanitise import clean, picture_name
from handler.postprocess.tidy import (
    attributes_of,
    options_of,
    quoted,
    rewritten_math,
    without_ruby_parentheses,
)
from handler.profiles import BboxFormat
from handler.rotation import turned_box, turned_size
from handler.schema import Block

__all__ = ["Blocks", "Paper"]

# Pictures are cut out for these even when the model wrote no <img>.
_PICTURES = frozenset({"Image", "Figure"})
# An <img> in any other block shows nothing that is on the page, as chandra-ocr 0.2.0
# has found: the model makes up an icon, a logo or the drawing of a molecule.
_WITH_IMAGES = _PICTURES | {"Diagram"}
# Each is cut out and encoded: a page must not be able to ask for thousands.
_MAX_FIGURES = 64
# What bare text in a block is; a paragraph in any other.
_BARE_TAGS = {"Section-Header": "h2", "Code-Block": "pre"}


@dataclass(frozen=True, slots=True)
class Paper:
    """The caller's page: its size, how the model writes boxes, and how it was turned.

    `rotation` are the degrees clockwise by which the page was turned for the model.
    """

    number: int
    width: int
    height: int
    bbox_format: BboxFormat
    rotation: int = 0
    """Degrees clockwise by which it was turned for the model."""
    left: int = 0
    top: int = 0
    """Where a strip begins on its page, in pixels."""

    def bbox_from(self, written: str | None) -> Bbox | None:
        """Return a box on the caller's page from one on the page that the model saw."""
        width, height = turned_size(self.width, self.height, self.rotation)
        seen = bbox_from(written, self.bbox_format, width, height)
        if seen is None:
            return None
        left, top, right, bottom = turned_box(seen, -self.rotation, width, height)
        return left + self.left, top + self.top, right + self.left, bottom + self.top


@dataclass(frozen=True, slots=True)
class _Place:
    """The surroundings of a node: its innermost labelled div, and its quotations."""

    label: str
    bbox: Bbox | None
    num_quotations: int = 0

    def inside_quotation(self) -> _Place:
        return replace(self, num_quotations=self.num_quotations + 1)


@dataclass(slots=True)
class Blocks:
    """The blocks of one page, in reading order, and the pictures to cut out of it."""

    paper: Paper
    include_images: bool
    found: list[Block] = field(default_factory=list)
    figures: dict[str, Bbox] = field(default_factory=dict)
    num_unusable_boxes: int = 0

    def add_page(self, nodes: Iterable[Node], stray_label: str = UNLABELLED) -> None:
        """Add the top level of a page; `stray_label` is for what is in no block."""
        stray: list[Node] = []
        for node in nodes:
            if not _is_labelled(node):
                stray.append(node)
                continue
            self._add_stray(stray_label, stray)
            stray = []
            assert isinstance(node, Element)
            label = label_from(node.attrs.get("data-label"))
            bbox = self.paper.bbox_from(node.attrs.get("data-bbox"))
            if bbox is None and label != BLANK_PAGE:
                self.num_unusable_boxes += 1
            self._add(label, bbox, node.children)
        self._add_stray(stray_label, stray)

    def _add_stray(self, label: str, nodes: list[Node]) -> None:
        if _says_something(nodes):
            self._add(label, None, nodes)

    def _add(self, label: str, bbox: Bbox | None, nodes: list[Node]) -> None:
        num_figures = len(self.figures)
        tidy = self._tidied(nodes, _Place(label, bbox))
        if label in _PICTURES and len(self.figures) == num_figures:
            name = self._figure(bbox)
            if name is not None:
                tidy.insert(0, Element("img", {"src": name, "alt": label}))
        html = clean(serialise(_wrapped(label, tidy))).strip()
        self.found.append(Block(label, bbox, html))

    def _tidied(self, nodes: Iterable[Node], place: _Place) -> list[Node]:
        """Return the nodes as answers have them, with pictures where they belong."""
        tidy: list[Node] = []
        for node in without_ruby_parentheses(nodes):
            if isinstance(node, str):
                tidy.append(node)
                continue
            match node.tag:
                case "img":
                    # Words on both sides of an image that is dropped are two words.
                    tidy.append(self._image(node, place) or " ")
                case "math":
                    tidy.append(rewritten_math(node))
                case "select":
                    tidy += self._tidied(options_of(node), place)
                case "option":
                    tidy += [" ", *self._tidied(node.children, place), " "]
                case "q":
                    children = self._tidied(node.children, place.inside_quotation())
                    tidy += quoted(children, place.num_quotations)
                case _:
                    tidy.append(self._element(node, place))
        return tidy

    def _element(self, node: Element, place: _Place) -> Element:
        written = node.attrs.get("data-label")
        label = place.label if written is None else label_from(written)
        bbox = self.paper.bbox_from(node.attrs.get("data-bbox")) or place.bbox
        inner = replace(place, label=label, bbox=bbox)
        children = self._tidied(node.children, inner)
        if written is not None:
            children = _wrapped(label, children)
        return Element(node.tag, attributes_of(node), children)

    def _image(self, image: Element, place: _Place) -> Element | None:
        """Return an image that points to a picture we cut out, or to nothing."""
        if place.label not in _WITH_IMAGES:
            return None
        alt = collapsed(image.attrs.get("alt", "")).strip()
        name = self._figure(place.bbox)
        if name is None:
            return Element("img", {"alt": alt}) if alt else None
        return Element("img", {"src": name, "alt": alt})

    def _figure(self, bbox: Bbox | None) -> str | None:
        """A name for the picture in a box; each box is cut out once."""
        if bbox is None or not self.include_images or bbox in self.figures.values():
            return None
        if len(self.figures) == _MAX_FIGURES:
            return None
        name = picture_name(self.paper.number, len(self.figures) + 1)
        self.figures[name] = bbox
        return name


def _is_labelled(node: Node) -> bool:
    return (
        isinstance(node, Element)
        and node.tag == "div"
        and ("data-bbox" in node.attrs or "data-label" in node.attrs)
    )


def _says_something(nodes: Iterable[Node]) -> bool:
    return any(
        bool(node.strip())
        if isinstance(node, str)
        else node.tag == "input" or _says_something(node.children)
        for node in nodes
    )


def _wrapped(label: str, nodes: list[Node]) -> list[Node]:
    """Bare text in the element it stands for."""
    is_bare = any(isinstance(node, str) and node.strip() for node in nodes)
    if label in _BARE_TAGS:
        is_bare = is_bare or bool(nodes)
    if not is_bare or any(isinstance(n, Element) and is_block(n) for n in nodes):
        return nodes
    return [Element(_BARE_TAGS.get(label, "p"), {}, nodes)]
