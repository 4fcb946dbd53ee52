"""Pillow plugins for each format; this package's plugins precede Pillow's own."""

from __future__ import annotations

from handler.preprocess.image import cmyk_jpeg, png_samples, pnm_samples
from handler.preprocess.image.tiff import samples as tiff_samples

__all__ = ["plugins_of"]

_PLUGINS: dict[str, tuple[str, ...]] = {
    "JPEG": cmyk_jpeg.FORMATS,
    "PNG": png_samples.FORMATS,
    "PPM": pnm_samples.FORMATS,
    "TIFF": tiff_samples.FORMATS,
}


def plugins_of(format_name: str) -> tuple[str, ...]:
    """Return the plugins for one of Pillow's formats, in the order of precedence."""
    return _PLUGINS.get(format_name, (format_name,))
