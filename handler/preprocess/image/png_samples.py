"""Read PNGs of 16 bits a sample in full, as a plugin of Pillow.

Pillow keeps the high byte of colours, so samples of 12 bits in words of 16 keep 4 bits
of them, and compares a transparent color with samples of another depth.
"""

from __future__ import annotations

from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from handler.preprocess.image.samples import (
    MAX_HOT_SHARE,
    find_extrema,
    scale_of,
    scaled_image,
)

__all__ = ["FORMATS"]

_FORMAT = "PNG_SAMPLES"

FORMATS = (_FORMAT,)

# Factor from a sample of 2 or 4 bits to the 8 bits that Pillow scales it to.
_FACTORS = {"L;2": 85, "L;4": 17}
# Pillow's raw modes of 16 bits, with those that together give all bytes of a pixel.
_DEEP = {
    "I;16B": (),
    "LA;16B": ("RGBA",),
    "RGB;16B": ("RGB;16B", "RGB;16L"),
    "RGBA;16B": ("RGBA;16B", "RGBA;16L"),
}
_MAX_SHALLOW_BYTE = 63
"""Highest high byte of samples that do not use the two highest of 16 bits."""


class PngSamplesFile(PngImagePlugin.PngImageFile):
    """A PNG whose samples are scaled by the bits that they use."""

    def _open(self) -> None:
        super()._open()
        args = self.tile[0].args if self.tile else None
        self._raw_mode = args if isinstance(args, str) else None
        transparency = self.info.get("transparency")
        factor = _FACTORS.get(self._raw_mode or "")
        if factor is not None and isinstance(transparency, int):
            self.info["transparency"] = transparency * factor

    def load(self) -> Any:
        is_first = bool(self.tile)
        result = super().load()
        # Animations are composed of frames of 8 bits.
        if not is_first or self._raw_mode not in _DEEP or self.is_animated:
            return result
        image = self._scaled()
        if image is not None:
            self._mode = image.mode
            self.im = image.im
            self.info.pop("transparency", None)
        return Image.Image.load(self)

    def _scaled(self) -> Image.Image | None:
        """Return the image of 8 bits a sample; None if Pillow's is right."""
        transparency = self.info.get("transparency")
        raw_modes = _DEEP[self._raw_mode or ""]
        if not raw_modes:
            samples = np.asarray(Image.Image.copy(self))[..., None]
        else:
            counts = np.reshape(self.histogram(), (-1, 256))[:3]
            num_deep = counts[:, _MAX_SHALLOW_BYTE + 1 :].sum()
            if num_deep > MAX_HOT_SHARE * counts.sum() and transparency is None:
                return None
            samples = self._samples(raw_modes)
        num_colours = samples.shape[2] - (self.mode == "RGBA")
        colours = samples[..., :num_colours]

        def rows(start: int, stop: int) -> NDArray[Any]:
            return samples[start:stop]

        scale = scale_of(find_extrema(rows, self.size, num_colours), samples.dtype, 16)
        mode = ("L", "LA", "RGB", "RGBA")[samples.shape[2] - 1]
        if transparency is not None:
            mode = {"L": "LA", "RGB": "RGBA"}[mode]
            opaque = np.any(colours != np.array(transparency), axis=2, keepdims=True)
            alpha = opaque.astype(samples.dtype) * 65_535
            samples = np.concatenate((samples, alpha), axis=2)
        return scaled_image(rows, mode, self.size, scale)

    def _samples(self, raw_modes: tuple[str, ...]) -> NDArray[Any]:
        """Return all samples, of shape (rows, columns, samples) and 16 bits."""
        parts = [self._bytes(raw_mode) for raw_mode in raw_modes]
        if len(parts) == 1:
            return np.ascontiguousarray(parts[0]).view(">u2").astype(np.uint16)
        samples = parts[0].astype(np.uint16)
        samples <<= 8
        samples |= parts[1]
        return samples

    def _bytes(self, raw_mode: str) -> NDArray[Any]:
        """Decode the file once more, and keep the bytes of a raw mode."""
        file = cast("IO[bytes]", self._fp)
        file.seek(0)
        image = PngImagePlugin.PngImageFile(file)
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        image.load()
        return np.asarray(image)


def _accept(head: bytes) -> bool:
    return head.startswith(b"\x89PNG\r\n\x1a\n")


Image.register_open(_FORMAT, PngSamplesFile, _accept)
