"""Pillow plugin for binary PNMs with more than 8 bits per sample.

Pillow keeps only the high byte of colour samples, and it converts samples one by one in
Python unless their highest value is 65,535.
"""

from __future__ import annotations

from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, PpmImagePlugin

from handler.preprocess.image.samples import (
    Scale,
    choose_scale,
    find_extrema,
    scale_image,
)

__all__ = ["FORMATS"]

_FORMAT = "PNM_SAMPLES"

FORMATS = (_FORMAT, PpmImagePlugin.PpmImageFile.format)
"""Names of Pillow's formats for a PNM, in the order in which they are tried."""

_MODES = {"I": "L", "RGB": "RGB"}
_MAX_SAMPLE = 65_535


class PnmSamplesFile(PpmImagePlugin.PpmImageFile):
    """A PGM or PPM with two bytes per sample, the high byte first.

    Opening another PNM raises SyntaxError.
    """

    format = _FORMAT
    format_description = "PNM with samples of 16 bits"

    def _open(self) -> None:
        super()._open()
        (tile,) = self.tile
        raw_mode, highest = (
            tile.args if isinstance(tile.args, tuple) else (tile.args, _MAX_SAMPLE)
        )
        is_deep = raw_mode == "I;16B" or (
            tile.codec_name == "ppm" and cast("int", highest) > 255
        )
        if not is_deep or self.mode not in _MODES:
            raise SyntaxError("Pillow reads this image")
        self._highest, self._start = cast("int", highest), tile.offset
        self._mode = _MODES[self.mode]
        self.tile = []
        self._is_loaded = False

    def load(self) -> Any:
        """Decode the image at the first call.

        Raises OSError if rows are missing, unless Pillow is to load truncated images.
        Then the pixels that the file lacks keep their initial values.
        """
        if not self._is_loaded:
            self._is_loaded = True
            num_samples = len(self.getbands())
            row_bytes = 2 * self.width * num_samples
            file = cast("IO[bytes]", self.fp)
            file.seek(0, 2)  # mmap.seek returns None before Python 3.13
            num_bytes = file.tell() - self._start
            num_rows = min(self.height, max(0, num_bytes) // row_bytes)
            if num_rows < self.height and not ImageFile.LOAD_TRUNCATED_IMAGES:
                self._is_loaded = False
                raise OSError("the image data end early")
            if num_rows:
                self._paste(self._decode_rows(file, num_rows, num_samples))
        return Image.Image.load(self)

    def _decode_rows(
        self, file: IO[bytes], num_rows: int, num_samples: int
    ) -> Image.Image:
        """Decode the first rows to an image of 8 bits per sample."""
        size = (self.width, num_rows)

        def rows(start: int, stop: int) -> NDArray[Any]:
            row_bytes = 2 * self.width * num_samples
            file.seek(self._start + start * row_bytes)
            words = np.frombuffer(file.read((stop - start) * row_bytes), ">u2")
            shape = (stop - start, self.width, num_samples)
            return words.astype(np.uint16).reshape(shape)

        scale = Scale(0, self._highest)
        if self._highest == _MAX_SAMPLE:
            extrema = find_extrema(rows, size, num_samples)
            scale = choose_scale(extrema, np.dtype(np.uint16), 16)
        return scale_image(rows, self.mode, size, scale)

    def _paste(self, image: Image.Image) -> None:
        """Set the pixels of the first rows, and keep existing pixels of the others."""
        if image.size == self.size:
            self.im = image.im
            return
        whole = Image.new(self.mode, self.size)
        if self._im is not None:
            whole.im = self.im
        whole.paste(image)
        self.im = whole.im


def _accept(head: bytes) -> bool:
    return head[:2] in (b"P5", b"P6")


Image.register_open(_FORMAT, PnmSamplesFile, _accept)
