"""Sizes and boxes on a page that is turned by a multiple of 90 degrees."""

from __future__ import annotations

__all__ = ["turned_box", "turned_size"]

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels."""


def turned_size(width: int, height: int, degrees: int) -> tuple[int, int]:
    """Return width and height of a page after a turn by a multiple of 90 degrees."""
    return (width, height) if degrees % 180 == 0 else (height, width)


def turned_box(box: Box, degrees: int, width: int, height: int) -> Box:
    """Return the box after its page of `width` x `height` pixels is turned clockwise.

    `degrees` is a multiple of 90; negative values turn counterclockwise.
    """
    left, top, right, bottom = box
    match degrees % 360:
        case 90:
            return height - bottom, left, height - top, right
        case 180:
            return width - right, height - bottom, width - left, height - top
        case 270:
            return top, width - right, bottom, width - left
    return box
