"""A page of which every letter is known: what a perfect reader answers, and where.

Each character of the answer has its centre on the page, and from that come the boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from mini.canvas import Mark

__all__ = ["BBOX_SCALE", "BBOX_STEP", "Block", "Page", "Piece", "Point"]

BBOX_SCALE = 1024
BBOX_STEP = 4
"""An answer's boxes stand on multiples of it: two or three pixels of a page."""

Point = tuple[float, float]
"""x and y in pixels of the page."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some characters of the answer, and where each stands on the page.

    Markup stands nowhere: its place is None.
    """

    text: str
    place: Point | None = None


@dataclass(slots=True)
class Block:
    """One div of the answer."""

    label: str
    bbox: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the page."""
    pieces: list[Piece]

    @property
    def html(self) -> str:
        return "".join(piece.text for piece in self.pieces)


@dataclass(slots=True)
class Page:
    """An image and what a perfect reader answers."""

    image: Image.Image
    blocks: list[Block]
    paper: tuple[int, int, int] = (255, 255, 255)
    marks: list[Mark] = field(default_factory=list)
    """What was drawn; nothing where the page was turned or degraded afterwards."""

    def answer(self) -> list[Piece]:
        """The whole answer, piece by piece."""
        pieces: list[Piece] = []
        for block in self.blocks:
            pieces += self._opening(block)
            pieces += block.pieces
            pieces.append(Piece("</div>"))
        return pieces

    @property
    def html(self) -> str:
        return "".join(piece.text for piece in self.answer())

    def _opening(self, block: Block) -> list[Piece]:
        pieces = [Piece('<div data-bbox="[')]
        # Read where the block begins: what is seen there knows how far it reaches.
        place = next(piece.place for piece in block.pieces if piece.place)
        for index, edge in enumerate(block.bbox):
            steps = round(edge / self.image.size[index % 2] * BBOX_SCALE / BBOX_STEP)
            scaled = min(BBOX_SCALE, max(0, steps * BBOX_STEP))
            pieces.append(Piece(str(scaled), place))
            pieces.append(
                Piece(", " if index < 3 else f']" data-label="{block.label}">')
            )
        return pieces
