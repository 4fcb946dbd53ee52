"""Names of the Pillow plugins for each format, including this package's own."""

from __future__ import annotations

from handler.preprocess.image import cmyk_jpeg, png_samples, pnm_samples
from handler.preprocess.image.tiff import samples as tiff_samples

__all__ = ["list_plugins"]

_PLUGINS: dict[str, tuple[str, ...]] = {
    "JPEG": cmyk_jpeg.FORMATS,
    "PNG": png_samples.FORMATS,
    "PPM": pnm_samples.FORMATS,
    "TIFF": tiff_samples.FORMATS,
}


def list_plugins(format_name: str) -> tuple[str, ...]:
    """Return the names of the plugins for one of Pillow's formats, the preferred first.

    The plugins of this package precede Pillow's own.
    """
    return _PLUGINS.get(format_name, (format_name,))
