"""Ground truth of a page: the perfect answer and the position of each character.

The boxes are derived from the centres of the characters.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from mini.canvas import Mark

__all__ = ["BBOX_SCALE", "BBOX_STEP", "Piece", "Point", "RenderedBlock", "RenderedPage"]

BBOX_SCALE = 1024
BBOX_STEP = 4
"""Box numbers are multiples of this, which is two or three pixels of a page."""

Point = tuple[float, float]
"""x and y in pixels of the page."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of the answer with its position on the page.

    Markup has no position: its place is None.
    """

    text: str
    place: Point | None = None


@dataclass(slots=True)
class RenderedBlock:
    """Block of the page, which is a div of the answer."""

    label: str
    bbox: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the page."""
    pieces: list[Piece]

    @property
    def html(self) -> str:
        return "".join(piece.text for piece in self.pieces)


@dataclass(slots=True)
class RenderedPage:
    """Image of a page with the perfect answer."""

    image: Image.Image
    blocks: list[RenderedBlock]
    paper: tuple[int, int, int] = (255, 255, 255)
    marks: list[Mark] = field(default_factory=list)
    """Recorded drawing operations; empty if the page was rotated or degraded."""

    def answer_pieces(self) -> list[Piece]:
        """Return the whole answer in pieces."""
        pieces: list[Piece] = []
        for block in self.blocks:
            pieces += self._make_opening_tag(block)
            pieces += block.pieces
            pieces.append(Piece("</div>"))
        return pieces

    @property
    def html(self) -> str:
        return "".join(piece.text for piece in self.answer_pieces())

    def _make_opening_tag(self, block: RenderedBlock) -> list[Piece]:
        pieces = [Piece('<div data-bbox="[')]
        # The box gets the position of the first letter: the layout loss teaches every
        # cell of a block its edges.
        place = next(piece.place for piece in block.pieces if piece.place)
        for index, edge in enumerate(block.bbox):
            steps = round(edge / self.image.size[index % 2] * BBOX_SCALE / BBOX_STEP)
            scaled = min(BBOX_SCALE, max(0, steps * BBOX_STEP))
            pieces.append(Piece(str(scaled), place))
            pieces.append(
                Piece(", " if index < 3 else f']" data-label="{block.label}">')
            )
        return pieces
