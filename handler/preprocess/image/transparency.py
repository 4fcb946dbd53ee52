"""Put a transparent image on a background that shows its ink."""

from __future__ import annotations

from PIL import Image, ImageChops, ImageFilter

__all__ = ["compose"]

_WHITE, _GRAY, _BLACK = 255, 128, 0
# Lightness of 0 to 255. Ink that is lighter has a contrast with white of 2.2 at most.
_LIGHT = 170
_DARK = 110
_MAX_DARK_SHARE = 0.0005
"""Dark pixels among light ones: dark writing on light paper covers more."""
_MIN_MIXED_SHARE = 0.25


def compose(image: Image.Image) -> Image.Image:
    """Return an image of mode RGBA in RGB, on white unless that hides its ink.

    Light ink without anything dark gets black; light and dark ink side by side get
    gray. An image without visible pixels is white.
    """
    alpha = image.getchannel("A")
    low, high = alpha.getextrema()
    if low == 255:
        return image.convert("RGB")
    ground = _ground(image, alpha, int(high)) if high else _WHITE  # type: ignore[arg-type]
    page = Image.new("RGB", image.size, (ground,) * 3)
    page.paste(image, mask=alpha)
    return page


def _ground(image: Image.Image, alpha: Image.Image, most: int) -> int:
    lightness = image.convert("RGB").convert("L")
    # Pixels at the edge of a letter are half transparent and have odd colours.
    visible = alpha.point(lambda value: 255 if value >= 0.75 * most else 0)
    light, dark = _shares(lightness, visible)
    if light < _MIN_MIXED_SHARE:
        return _WHITE
    if dark <= _MAX_DARK_SHARE and light > 0.5:
        return _BLACK
    # Light paper with dark ink needs no background. Ink that borders on transparent
    # pixels does.
    clear = alpha.point(lambda value: 255 if value < 0.25 * most else 0)
    border = ImageChops.darker(visible, clear.filter(ImageFilter.MaxFilter(5)))
    light, dark = _shares(lightness, border)
    return _GRAY if min(light, dark) >= _MIN_MIXED_SHARE else _WHITE


def _shares(lightness: Image.Image, mask: Image.Image) -> tuple[float, float]:
    """Return the shares of light and of dark pixels among those of the mask."""
    counts = lightness.histogram(mask)
    total = sum(counts) or 1
    return sum(counts[_LIGHT:]) / total, sum(counts[:_DARK]) / total
