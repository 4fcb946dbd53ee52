"""Pillow plugin for CMYK JPEGs without Adobe's marker.

The marker says that the CMYK values are inverted. Pillow always inverts them, so it
decodes a JPEG without the marker to its negative.
"""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageChops, ImageStat, JpegImagePlugin

__all__ = ["FORMATS"]

_FORMAT = "JPEG_CMYK"

FORMATS = (_FORMAT, JpegImagePlugin.JpegImageFile.format)
"""Names of Pillow's formats for a JPEG, in the order in which they are tried."""

_MAX_MEAN_INK = 127.5


class CmykJpegFile(JpegImagePlugin.JpegImageFile):
    """A CMYK JPEG without Adobe's marker. Opening another JPEG raises SyntaxError."""

    def _open(self) -> None:
        super()._open()
        if self.mode != "CMYK" or "adobe" in self.info:
            raise SyntaxError("Pillow reads this JPEG")

    def load(self) -> Any:
        """Decode the image, and undo Pillow's inversion at the first call."""
        is_first = bool(self.tile)
        result = super().load()
        if not is_first:
            return result
        # No page has two full layers of ink on average. If this one has, its values are
        # inverted although it lacks the marker.
        plain = ImageChops.invert(self)
        if sum(ImageStat.Stat(plain).mean) / 4 <= _MAX_MEAN_INK:
            self.im = plain.im
        return Image.Image.load(self)


def _accept(head: bytes) -> bool:
    return head.startswith(b"\xff\xd8\xff")


Image.register_open(_FORMAT, CmykJpegFile, _accept)
