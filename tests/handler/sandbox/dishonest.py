"""Module that makes a decoder return forged pages when it is imported."""

from __future__ import annotations

from handler.preprocess import Limits, document as decoding
from handler.preprocess.decode_options import DecodeOptions
from handler.profiles import Sizing
from handler.sandbox.wire import Descriptor
from handler.schema import Page


def page_of_too_few_pixels(
    document: Descriptor,
    media_type: str,
    number: int,
    sizing: Sizing,
    limits: Limits,
    options: DecodeOptions = DecodeOptions(),
) -> Page:
    """Return a page that claims one more row of pixels than it has."""
    return Page(number, 64, 65, 64, 65, bytes(3 * 64 * 64))


decoding.decode_page = page_of_too_few_pixels
