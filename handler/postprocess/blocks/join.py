"""Joining of the blocks of a long page's strips, without lost or repeated lines.

Adjacent strips that overlap show the same lines. The anchor is the last run of words
that both strips have at about the same position. The first strip's text is kept up to
the end of the anchor, and the second strip's text after it. A line that the edge of one
strip cuts, and that the model therefore misreads, is thus taken from the other strip.
Where a cut without overlap parts a paragraph, list or table, its halves are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from handler.postprocess.blocks.anchor import (
    PlacedWord,
    Seam,
    find_anchor,
    has_words,
)
from handler.postprocess.blocks.layout import Bbox
from handler.postprocess.html.markup import Element, Node, parse, serialise
from handler.postprocess.html.sanitise import clean
from handler.schema import Block, Strip

__all__ = ["StripAnswer", "join_blocks"]

_MIN_SHARED_AREA = 0.5
"""Minimum share of the larger box that the boxes of equal blocks have in common."""
_CUT_LABELS = frozenset(
    {"Text", "List-Group", "Table", "Code-Block", "Table-Of-Contents"}
)
_MAX_CUT_DISTANCE = 0.1
"""Maximum distance of a parted block from the cut, as a share of the strip."""


@dataclass(frozen=True, slots=True)
class StripAnswer:
    """Output of the model for one strip of a page."""

    strip: Strip
    text: str


def join_blocks(
    strips: Sequence[tuple[Strip, list[Block]]], is_wide: bool
) -> list[Block]:
    """Return the blocks of all strips in order, without what two strips both show.

    Each strip comes with its blocks, whose boxes are in pixels of the page. `is_wide`
    is True for a page that was cut along its width. The arguments are not changed.
    """
    joined: list[Block] = []
    previous: Strip | None = None
    for strip, blocks in strips:
        axis = 0 if is_wide else 1
        start = strip.box[axis]
        length = strip.box[axis + 2] - start
        seam = Seam(axis, start, start + strip.overlap, _MAX_CUT_DISTANCE * length)
        # Strips with a failed or blank strip between them are not adjacent.
        is_adjacent = previous is not None and previous.box[axis + 2] >= start
        previous = strip
        blocks = list(blocks)
        if is_adjacent and strip.overlap:
            _join_at_overlap(joined, blocks, seam)
        elif is_adjacent and strip.is_continuation and joined and blocks:
            _join_at_cut(joined, blocks, seam)
        joined += blocks
    return joined


def _join_at_overlap(joined: list[Block], blocks: list[Block], seam: Seam) -> None:
    """Remove the blocks and words that the overlap shows twice, and join parted blocks.

    Changes both lists in place: `joined` has the blocks of the strips so far, and
    `blocks` those of the next strip.
    """
    heads = [index for index, block in enumerate(blocks) if seam.intersects(block)]
    tails = [index for index, block in enumerate(joined) if seam.intersects(block)]
    dropped_tails: set[int] = set()
    dropped_heads: set[int] = set()
    for column_tails, column_heads in _group_by_column(
        joined, tails, blocks, heads, 1 - seam.axis
    ):
        anchor = find_anchor(joined, column_tails, blocks, column_heads, seam)
        if anchor is not None:
            first, second = anchor
            _join_blocks_at_anchor(joined, blocks, first, second, dropped_heads)
            dropped_tails |= {
                index
                for index in column_tails
                if index > first.block_index
                and _is_in_overlap_or_duplicate(
                    joined[index], blocks, column_heads, seam
                )
            }
            dropped_heads |= {
                index
                for index in column_heads
                if index < second.block_index
                and _is_in_overlap_or_duplicate(
                    blocks[index], joined, column_tails, seam
                )
            }
        for index in column_heads:
            if index not in dropped_heads and any(
                _have_same_label_and_place(blocks[index], joined[tail])
                for tail in column_tails
                if tail not in dropped_tails
            ):
                dropped_heads.add(index)
    joined[:] = [b for index, b in enumerate(joined) if index not in dropped_tails]
    blocks[:] = [b for index, b in enumerate(blocks) if index not in dropped_heads]


def _group_by_column(
    joined: list[Block],
    tails: list[int],
    blocks: list[Block],
    heads: list[int],
    cross_axis: int,
) -> list[tuple[list[int], list[int]]]:
    """Return a pair of lists per column of the page: indices of tails, and of heads.

    Blocks are in one column if their boxes overlap across the strips. `tails` are
    indices of `joined`, `heads` are indices of `blocks`.
    """
    entries = [(joined[index].bbox, 0, index) for index in tails]
    entries += [(blocks[index].bbox, 1, index) for index in heads]
    columns: list[tuple[list[int], list[int]]] = []
    end = -1
    for box, side, index in sorted(
        entries, key=lambda entry: (entry[0] or ())[cross_axis]
    ):
        assert box is not None
        if box[cross_axis] >= end:
            columns.append(([], []))
        columns[-1][side].append(index)
        end = max(end, box[cross_axis + 2])
    return [
        (sorted(column_tails), sorted(column_heads))
        for column_tails, column_heads in columns
    ]


def _join_blocks_at_anchor(
    joined: list[Block],
    blocks: list[Block],
    first: PlacedWord,
    second: PlacedWord,
    dropped_heads: set[int],
) -> None:
    """End the first strip's block at the anchor and append what follows in the second.

    `first` and `second` are the anchor's last words in `joined` and `blocks`. The block
    in `joined` is replaced, and the index of the block in `blocks` is added to
    `dropped_heads`. If text follows and the labels differ, both blocks stay, and
    the one in `blocks` is replaced by the text after the anchor.
    """
    before, after = joined[first.block_index], blocks[second.block_index]
    html_after = after.html[second.end :]
    html_before = before.html[: first.end]
    if not has_words(html_after):
        if has_words(before.html[first.end :]):
            joined[first.block_index] = replace(
                before, html=_clean_fragment(html_before)
            )
        dropped_heads.add(second.block_index)
    elif before.label == after.label and before.bbox and after.bbox:
        joined[first.block_index] = replace(
            before,
            bbox=_bounding_box(before.bbox, after.bbox),
            html=_clean_fragment(html_before + html_after),
        )
        dropped_heads.add(second.block_index)
    else:
        joined[first.block_index] = replace(before, html=_clean_fragment(html_before))
        blocks[second.block_index] = replace(after, html=_clean_fragment(html_after))


def _is_in_overlap_or_duplicate(
    block: Block, other_blocks: list[Block], indices: list[int], seam: Seam
) -> bool:
    """Return True if the block lies in the overlap, or an equal one is at `indices`."""
    assert block.bbox is not None
    return seam.contains(block.bbox) or any(
        _have_same_label_and_place(block, other_blocks[index]) for index in indices
    )


def _have_same_label_and_place(first: Block, second: Block) -> bool:
    """Return True for blocks with the same label and boxes that largely overlap."""
    if first.bbox is None or second.bbox is None or first.label != second.label:
        return False
    areas = [_area(box) for box in (first.bbox, second.bbox)]
    inner = (
        max(first.bbox[0], second.bbox[0]),
        max(first.bbox[1], second.bbox[1]),
        min(first.bbox[2], second.bbox[2]),
        min(first.bbox[3], second.bbox[3]),
    )
    return _area(inner) >= _MIN_SHARED_AREA * max(areas)


def _area(box: Bbox) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def _clean_fragment(html: str) -> str:
    return clean(serialise(_parse_block(html))).strip()


def _parse_block(html: str) -> list[Node]:
    return parse(html, is_one_block=True).nodes


def _join_at_cut(joined: list[Block], blocks: list[Block], seam: Seam) -> None:
    """Join the last block and the next strip's first block if the cut parted them.

    The joined block then replaces the last of `joined`, and the first of `blocks` is
    deleted.
    """
    first, second = joined[-1], blocks[0]
    if first.bbox is None or second.bbox is None:
        return
    if first.label != second.label or first.label not in _CUT_LABELS:
        return
    are_near_cut = (
        seam.start - first.bbox[seam.axis + 2] <= seam.cut_distance
        and second.bbox[seam.axis] - seam.start <= seam.cut_distance
    )
    cross_axis = 1 - seam.axis
    share_columns = min(first.bbox[cross_axis + 2], second.bbox[cross_axis + 2]) > max(
        first.bbox[cross_axis], second.bbox[cross_axis]
    )
    if are_near_cut and share_columns:
        nodes = _join_halves(_parse_block(first.html), _parse_block(second.html))
        if nodes is not None:
            html = clean(serialise(nodes)).strip()
            bbox = _bounding_box(first.bbox, second.bbox)
            joined[-1] = replace(first, bbox=bbox, html=html)
            del blocks[0]


_CONTAINER_TAGS = frozenset({"ul", "ol", "table", "tbody", "pre", "p"})


def _join_halves(first: list[Node], second: list[Node]) -> list[Node] | None:
    """Return the nodes of both halves, with the two nodes at the cut joined.

    Return None if those two nodes cannot be joined.
    """
    if not first or not second:
        return None
    last, beginning = first[-1], second[0]
    if not isinstance(last, Element) or not isinstance(beginning, Element):
        return None
    if last.tag != beginning.tag or last.tag not in _CONTAINER_TAGS:
        return None
    if last.tag in ("p", "pre"):
        between = "\n" if last.tag == "pre" else " "
        children: list[Node] = [*last.children, between, *beginning.children]
    else:
        inner = _join_halves(last.children, beginning.children)
        children = inner or [*last.children, *beginning.children]
    return [*first[:-1], Element(last.tag, last.attrs, children), *second[1:]]


def _bounding_box(first: Bbox, second: Bbox) -> Bbox:
    return (
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    )
