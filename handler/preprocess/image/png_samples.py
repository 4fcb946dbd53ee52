"""Pillow plugin for PNGs with 16 bits per sample.

Pillow keeps only the high byte of each sample, so that 12-bit samples in 16-bit words
lose all but 4 bits. It also compares a transparent color with samples of another depth.
"""

from __future__ import annotations

from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from handler.preprocess.image.samples import (
    MAX_HOT_SHARE,
    choose_scale,
    find_extrema,
    scale_image,
)

__all__ = ["FORMATS"]

_FORMAT = "PNG_SAMPLES"

FORMATS = (_FORMAT,)
"""Names of Pillow's formats for a PNG, in the order in which they are tried."""

# Factor by which Pillow scales a sample of 2 or 4 bits to 8 bits.
_FACTORS = {"L;2": 85, "L;4": 17}
# Pillow's raw modes of 16 bits, and for each the raw modes that yield all its bytes.
_DEEP = {
    "I;16B": (),
    "LA;16B": ("RGBA",),
    "RGB;16B": ("RGB;16B", "RGB;16L"),
    "RGBA;16B": ("RGBA;16B", "RGBA;16L"),
}
_MAX_SHALLOW_BYTE = 63
"""Largest high byte of samples whose two most significant bits are zero."""


class PngSamplesFile(PngImagePlugin.PngImageFile):
    """A PNG whose 16-bit samples are scaled to 8 bits by the number of bits in use.

    A transparent gray level of 2 or 4 bits is scaled to 8 bits, as its samples are.
    """

    def _open(self) -> None:
        super()._open()
        args = self.tile[0].args if self.tile else None
        self._raw_mode = args if isinstance(args, str) else None
        transparency = self.info.get("transparency")
        factor = _FACTORS.get(self._raw_mode or "")
        if factor is not None and isinstance(transparency, int):
            self.info["transparency"] = transparency * factor

    def load(self) -> Any:
        """Decode the image, and replace Pillow's pixels where they lose bits.

        The mode may then change, and a transparent color becomes an alpha band.
        """
        is_first = bool(self.tile)
        result = super().load()
        # Pillow composes animations from 8-bit frames, so they are left alone.
        if not is_first or self._raw_mode not in _DEEP or self.is_animated:
            return result
        image = self._scale_samples()
        if image is not None:
            self._mode = image.mode
            self.im = image.im
            self.info.pop("transparency", None)
        return Image.Image.load(self)

    def _scale_samples(self) -> Image.Image | None:
        """Return an image of 8 bits per sample; None if Pillow's image is correct."""
        transparency = self.info.get("transparency")
        raw_modes = _DEEP[self._raw_mode or ""]
        if not raw_modes:
            samples = np.asarray(Image.Image.copy(self))[..., None]
        else:
            counts = np.reshape(self.histogram(), (-1, 256))[:3]
            num_deep = counts[:, _MAX_SHALLOW_BYTE + 1 :].sum()
            if num_deep > MAX_HOT_SHARE * counts.sum() and transparency is None:
                return None
            samples = self._read_samples(raw_modes)
        num_colours = samples.shape[2] - (self.mode == "RGBA")
        colours = samples[..., :num_colours]

        def rows(start: int, stop: int) -> NDArray[Any]:
            return samples[start:stop]

        scale = choose_scale(
            find_extrema(rows, self.size, num_colours), samples.dtype, 16
        )
        mode = ("L", "LA", "RGB", "RGBA")[samples.shape[2] - 1]
        if transparency is not None:
            mode = {"L": "LA", "RGB": "RGBA"}[mode]
            opaque = np.any(colours != np.array(transparency), axis=2, keepdims=True)
            alpha = opaque.astype(samples.dtype) * 65_535
            samples = np.concatenate((samples, alpha), axis=2)
        return scale_image(rows, mode, self.size, scale)

    def _read_samples(self, raw_modes: tuple[str, ...]) -> NDArray[Any]:
        """Return the 16-bit samples as an array of shape (rows, columns, samples)."""
        parts = [self._decode_bytes(raw_mode) for raw_mode in raw_modes]
        if len(parts) == 1:
            return np.ascontiguousarray(parts[0]).view(">u2").astype(np.uint16)
        samples = parts[0].astype(np.uint16)
        samples <<= 8
        samples |= parts[1]
        return samples

    def _decode_bytes(self, raw_mode: str) -> NDArray[Any]:
        """Decode the file again and return the bytes of one raw mode."""
        file = cast("IO[bytes]", self._fp)
        file.seek(0)
        image = PngImagePlugin.PngImageFile(file)
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        image.load()
        return np.asarray(image)


def _accept(head: bytes) -> bool:
    return head.startswith(b"\x89PNG\r\n\x1a\n")


Image.register_open(_FORMAT, PngSamplesFile, _accept)
